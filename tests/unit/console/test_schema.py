"""The API against its own description: whatever fits it is answered as it says, and a stranger changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from orchestrator.console import Role
from orchestrator.console.app import openapi
from tests.unit.console.desks import Desks

SAFE = {"get", "head", "options"}
RUN = "aaaa1111"
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = int(os.environ.get("API_EXAMPLES", "6"))
"""For each route; `make api` sends more, and others each time."""
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 6,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class Served:
    """One console for all of them: to build an app costs more than to ask it."""

    def __init__(self) -> None:
        self.desks = Desks()
        self.desks.stuck(RUN)
        self.admin = self.desks.http(Role.ADMIN)
        self.stranger = self.desks.http(None)
        self.described: Any = schemathesis.openapi.from_dict(openapi(self.desks.app()))

    def written(self) -> int:
        """How much the journal has been told so far."""
        store = self.desks.store
        waiting = store.inbox(range(store.shards()), {}, 1_000)
        return sum(store.end(shard) for shard in range(store.shards())) + len(waiting)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    with made.admin, made.stranger:
        yield made


ROUTES = sorted(
    (path, method)
    for path, described in openapi(Desks().app())["paths"].items()
    for method in described
    if not path.endswith("stream")  # an answer without an end
)


def _sent(client: TestClient, case: Any) -> Any:
    made = case.as_transport_kwargs(base_url="http://localhost")
    headers = {name: str(value) for name, value in dict(made.get("headers") or {}).items()}
    names = {"json": "json", "data": "content"}
    body = {names[name]: made[name] for name in names if made.get(name) is not None}
    return client.request(
        made["method"],
        made["url"],
        params=made.get("params"),
        headers={name: value for name, value in headers.items() if name.lower() != "authorization"},
        **body,
    )


@pytest.mark.parametrize(("path", "method"), ROUTES, ids=str)
def test_what_fits_the_description_is_answered_as_it_says(
    served: Served, path: str, method: str
) -> None:
    @FEW
    @given(case=served.described[path][method].as_strategy())
    def check(case: Any) -> None:
        before = served.written()
        refused = _sent(served.stranger, case)
        assert refused.status_code in {401, 404}, "404 for a path that is none"
        assert served.written() == before
        _check(served, case)

    check()


@pytest.mark.parametrize(("path", "method"), [one for one in ROUTES if one[1] not in SAFE], ids=str)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    served: Served, path: str, method: str
) -> None:
    @FEW
    @given(
        case=served.described[path][method].as_strategy(
            generation_mode=schemathesis.GenerationMode.NEGATIVE
        )
    )
    def check(case: Any) -> None:
        before = served.written()
        refused = _sent(served.stranger, case)
        assert refused.status_code in {401, 404, 405, 413}, "none of them tells of the body"
        assert served.written() == before
        _check(served, case)

    check()


def _check(served: Served, case: Any) -> None:
    """What the administrator is answered."""
    case.path_parameters = {
        name: RUN if name == "run" and len(str(value)) % 2 else value
        for name, value in (case.path_parameters or {}).items()
    }
    answer = _sent(served.admin, case)
    assert answer.status_code < 500, answer.text
    if answer.status_code != 404 or answer.headers["content-type"] == "application/json":
        case.validate_response(answer, checks=CHECKS)
