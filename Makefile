# Everything a person or CI runs. Needs Python 3.11+, make and a compiler; the rest is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
# One more: many tests wait for real processes most of the time.
TEST_JOBS ?= 3
ARGS ?=

# Without kept bytecode each of the hundreds of processes the tests start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo dev test check lint types bench guards api storm crashes simulate screenshots story lock wheel clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

venv: $(STAMP) ## make .venv from the lock file (once)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## 300 orders on real servers and workers, from launch to repair
	$(BIN)/python -m sagas.demo $(ARGS)

dev: $(STAMP) ## broker, workers and coordinator, kept up for playing
	$(BIN)/saga --config config/development.toml dev \
		--also bookings="$(BIN)/python -m workers.booking_server --file .dev/bookings.jsonl" \
		--also ledgers="$(BIN)/python -m workers.ledger_server --folder .dev/ledgers" $(ARGS)

test: $(STAMP) ## every test, on real servers (ARGS= goes to pytest)
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types test ## what CI runs: style, types, layers, tests

lint: $(STAMP) ## style and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## mypy strict and pyright
	$(BIN)/mypy
	$(BIN)/basedpyright

bench: $(STAMP) ## measure against a Celery chain and DBOS (JSON=1 for one JSON object)
	@$(BIN)/python -m benchmarks.run $(if $(JSON),--json) $(ARGS)

guards: $(STAMP) ## take each guard away, and see that a test fails
	SAGA_GUARDS=1 $(BIN)/python -m pytest -n $(JOBS) tests/mutation $(ARGS)

api: $(STAMP) ## send the API much of what its own description allows (EXAMPLES=300 for each route)
	API_EXAMPLES=$(or $(EXAMPLES),300) $(BIN)/python -m pytest -q -n0 tests/unit/console/test_schema.py

storm: $(STAMP) ## kills -9 on real processes, then the oracle (ARGS=--transfers: two-phase commit)
	$(BIN)/python -m tests.e2e.storm $(ARGS)

crashes: $(STAMP) ## kill -9 at every point of every saga's processes, and again in the recovery
	$(BIN)/python -m tests.crash --jobs $(JOBS) $(ARGS)

simulate: $(STAMP) ## schedules of faults under virtual time until one fails (HOURS=8, SCHEDULES=N, ARGS=--seed N)
	$(BIN)/saga simulate --processes $(JOBS) \
		$(if $(HOURS),--hours $(HOURS)) $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(ARGS)

screenshots: $(STAMP) ## take the pictures of the console for the docs (needs chromium)
	PYTHONPATH=. $(BIN)/python docs/screenshots.py

story: $(STAMP) ## 500 stuck runs, found, understood, repaired and audited in a browser alone (needs chromium)
	PYTHONPATH=. $(BIN)/python docs/story.py $(ARGS)

wheel: $(STAMP) ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

lock: ## renew requirements.lock (makes a small environment of its own for the resolver)
	test -x $(VENV)/lock/bin/uv || { $(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/python -m pip install --quiet uv; }
	$(VENV)/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
		--all-extras --group dev --group bench --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock

clean: ## remove everything that make made
	rm -rf $(VENV) dist build .demo .dev .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
