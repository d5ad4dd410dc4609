"""The shapes of answers, for OpenAPI: made from the structs themselves, so that they can't disagree."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.client.hold import HoldPreview
from orchestrator.console.access import Grant, Role
from orchestrator.console.actions import Acted, Acts, Foreseen, Launched
from orchestrator.console.around import DoubtsSeen, ServicesSeen
from orchestrator.console.doubts import InDoubt, Ruled
from orchestrator.console.overview import InFlight
from orchestrator.console.shown import SagaRow, Shards
from orchestrator.journal.approvals import Judged
from orchestrator.journal.audit import AuditPage
from orchestrator.journal.bulk import Bulk as BulkRecord
from orchestrator.journal.bulk import BulkItem
from orchestrator.journal.hold import Hold
from orchestrator.journal.incident import Cluster, ClusterPage
from orchestrator.journal.port import Page
from orchestrator.kernel.preview import Preview
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.difference import Changed
from orchestrator.views.look import RunLook
from orchestrator.views.pulse import Pulse
from orchestrator.views.statistics import Statistics
from orchestrator.views.timeline import Entry


class Entries(msgspec.Struct, frozen=True):
    """Events of a run."""

    events: tuple[Entry, ...]
    length: int


class ClusterRuns(msgspec.Struct, frozen=True):
    """A cluster with a page of its runs."""

    cluster: Cluster
    runs: tuple[RunSummary, ...]
    cursor: str | None


class BulkRows(msgspec.Struct, frozen=True):
    """Bulk operations."""

    bulks: tuple[BulkRecord, ...]


class BulkItems(msgspec.Struct, frozen=True):
    """Runs of a bulk operation."""

    items: tuple[BulkItem, ...]


class Changes(msgspec.Struct, frozen=True):
    """What changed between two moments of a run."""

    since: int
    after: int
    changes: tuple[Changed, ...]


class Ended(msgspec.Struct, frozen=True):
    """Branches that were to be ended."""

    branches: tuple[InDoubt, ...]


class HoldRows(msgspec.Struct, frozen=True):
    """Holds."""

    holds: tuple[Hold, ...]


class Me(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    role: Role
    sagas: tuple[str, ...]
    headers: dict[str, str]
    """What a mutation with a cookie has to carry."""


class KnownToken(msgspec.Struct, frozen=True):
    """A token, without what it is made of."""

    name: str
    role: Role
    sagas: tuple[str, ...]
    expires_at: float | None


class Access(msgspec.Struct, frozen=True):
    """Who may do what."""

    tokens: tuple[KnownToken, ...]
    grants: tuple[Grant, ...]


class SagaRows(msgspec.Struct, frozen=True):
    """Sagas."""

    sagas: tuple[SagaRow, ...]


class Problem(msgspec.Struct, frozen=True):
    """What went wrong."""

    type: str
    message: str


class Fault(msgspec.Struct, frozen=True):
    """Every answer that isn't a success. A 412 has the run as it is now, too."""

    error: Problem


_ANSWERS = (
    *(
        Access,
        Acted,
        Acts,
        AuditPage,
        BulkItems,
        BulkRecord,
        BulkRows,
        Changes,
        ClusterPage,
        ClusterRuns,
    ),
    *(DoubtsSeen, Ended, Entries, Fault, Foreseen, Hold, HoldPreview, HoldRows, InFlight),
    *(Judged, Launched, Me, Page, Preview, Pulse, Ruled, RunLook),
    *(SagaRows, ServicesSeen, Shards, Statistics),
)
_JSON = "application/json"
_REF = "#/components/schemas/{name}"


def answers(name: str) -> dict[int | str, dict[str, Any]]:
    """What a route answers, by the name of its struct."""
    return {200: _content(name)}


def texts(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """A route that answers one of these texts."""
    content = {one: {"schema": {"type": "string"}} for one in media_types}
    return {200: {"description": "Answered.", "content": content}}


def add_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Put the structs' shapes and the faults into an OpenAPI document."""
    _, found = msgspec.json.schema_components(_ANSWERS, ref_template=_REF)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in found.items():
        schemas[name] = schema
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "saga_session"},
    }
    document["security"] = [{"token": []}, {"session": []}]
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            for answer in operation["responses"].values():
                _unmix(answer.get("content", {}))
            operation["responses"]["4XX"] = _content("Fault") | {"description": "Refused."}
    return document


def _unmix(content: dict[str, Any]) -> None:
    """FastAPI says of an answer that a route makes itself that it is a text, beside what the route says of it."""
    if len(content) > 1:
        content.pop(_JSON, None)
    for described in content.values():
        if "$ref" in described["schema"]:
            described["schema"].pop("type", None)


def _content(name: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=name)}
    return {"description": "Answered.", "content": {_JSON: {"schema": schema}}}
