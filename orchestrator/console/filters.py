"""The filter of lists of runs, as it stands in a URL: the same for the API, the pages and what is done in bulk."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import InvalidInputError
from orchestrator.journal.port import OperationFilter, RunFilter
from orchestrator.kernel.asked import OPERATIONS
from orchestrator.kernel.summary import RunStatus

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class RunQuery(BaseModel):
    """Which runs. Empty values are as none, as a form sends them."""

    model_config = ConfigDict(extra="ignore")

    status: list[RunStatus] = Field(default_factory=list)
    saga: str = ""
    step: str = Field(default="", description="Runs that are at, or parked at, this step.")
    tag: list[str] = Field(default_factory=list, description="name=value")
    key: str = ""
    text: str = Field(default="", description="In id, key, saga or reason.")
    older: str = Field(default="", description="Launched longer ago: 5m, 2h, 1d.")
    since: str = Field(default="", description="Launched within: 5m, 2h, 1d.")
    stuck: bool = Field(default=False, description="Only runs that need a person.")
    cluster: str = Field(default="", description="Runs with an open incident of this cluster.")

    def filter(self, now: float) -> RunFilter:
        """For the journal. Raises ``InvalidInputError``."""
        return RunFilter(
            status=tuple(self.status),
            saga=self.saga.strip() or None,
            tags=dict(map(_tag, filter(None, self.tag))),
            key=self.key.strip() or None,
            text=self.text.strip() or None,
            launched_after=now - age_s(self.since) if self.since.strip() else None,
            launched_before=now - age_s(self.older) if self.older.strip() else None,
            stuck=self.stuck,
            step=self.step.strip() or None,
            cluster=self.cluster.strip() or None,
        )

    def encoded(self) -> str:
        """As a query string, without what is at its default."""
        given = {name: value for name, value in self.model_dump().items() if value}
        if self.stuck:
            given["stuck"] = "true"
        return urlencode(given, doseq=True)


class AuditQuery(BaseModel):
    """Which operations. Empty values are as none, as a form sends them."""

    model_config = ConfigDict(extra="ignore")

    actor: str = ""
    operation: str = Field(default="", description=", ".join(OPERATIONS))
    saga: str = ""
    run: str = Field(default="", description="A run's id, a prefix of it, its key, or saga:key.")
    older: str = Field(default="", description="Longer ago: 5m, 2h, 1d.")
    since: str = Field(default="", description="Within: 5m, 2h, 1d.")
    refused: bool = Field(default=False, description="Only what was refused.")

    def filter(self, now: float) -> OperationFilter:
        """For the journal. Raises ``InvalidInputError``."""
        return OperationFilter(
            actor=self.actor.strip() or None,
            operation=self.operation.strip() or None,
            saga=self.saga.strip() or None,
            run=self.run.strip() or None,
            after=now - age_s(self.since) if self.since.strip() else None,
            before=now - age_s(self.older) if self.older.strip() else None,
            refused=self.refused,
        )

    def encoded(self) -> str:
        """As a query string, without what is at its default."""
        given = {name: value for name, value in self.model_dump().items() if value}
        if self.refused:
            given["refused"] = "true"
        return urlencode(given)


def age_s(text: str) -> float:
    """``5m`` in seconds. Raises ``InvalidInputError``."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise InvalidInputError(f"{text!r} is no length of time such as 30s, 5m, 2h, 1d")
    return float(found[1]) * _UNITS[found[2]]


def _tag(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InvalidInputError(f"{text!r} is no tag: write name=value")
    return name, value
