"""``make dev``: the sagas that ship, launched and signalled from a second terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.terminal import terminal, typed
from tests.servers.base import answers, free_port

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
def test_what_make_dev_starts_runs_the_sagas_that_ship(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^dev:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    command = recipe[1].replace("\\\n", " ").replace("$(BIN)/", "").replace(".dev", str(tmp_path))
    command = command.replace("$(ARGS)", f"--folder {tmp_path}").strip()
    port = free_port()  # its own may be somebody's who plays with it
    environment = {"SHOP_FOLDER": str(tmp_path), "BOOKING_URL": f"http://127.0.0.1:{port}"}
    command = command.replace("workers.booking_server", f"workers.booking_server --port {port}")
    ledgers = free_port()
    server = f"postgresql+psycopg://postgres@127.0.0.1:{ledgers}"
    for name in ("ledger_a", "ledger_b"):
        environment[f"{name.upper()}_DATABASE_URL"] = f"{server}/{name}"
    command = command.replace("workers.ledger_server", f"workers.ledger_server --port {ledgers}")
    with terminal(ROOT, command, tmp_path / "first-terminal.txt", environment):
        places = "".join(f"export {name}={value}\n" for name, value in environment.items())
        config = f"{places}export SAGA_CONFIG={tmp_path}/saga.toml\n"
        order = typed(ROOT, f"{config}saga launch place_order sagas/data/order.json --wait 60")
        assert "TOWN-000001" in order.stdout, order.stdout + order.stderr
        trip = typed(ROOT, f"{config}saga launch book_trip sagas/data/trip.json --key ada")
        assert trip.returncode == 0, trip.stderr
        approval = """saga signal ada approval '{"granted": true, "by": "you"}'"""
        approved = typed(ROOT, f"{config}{approval} && saga watch ada")
        assert approved.returncode == 0, approved.stdout + approved.stderr
        assert "run completed" in approved.stdout
        money = """saga launch transfer sagas/data/transfer.json --wait 60"""
        moved = typed(ROOT, f"{config}{money}")
        assert moved.returncode == 0, moved.stdout + moved.stderr
        assert answers(ledgers)
    assert not answers(ledgers), "PostgreSQL ends with the rest"
