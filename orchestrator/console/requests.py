"""What a request asks to be done to a run: read from JSON or a form, made into the kernel's message."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.definition.values import encode
from orchestrator.errors import InvalidInputError
from orchestrator.journal.bulk import CANARIES, BulkLimits
from orchestrator.kernel import messages as msg

OperationName = Literal[
    "retry",
    "skip",
    "resolve",
    "forget",
    "acknowledge",
    "compensate",
    "cancel",
    "signal",
    "pause",
    "resume",
    "budget",
    "approve",
    "deny",
]
OPERATIONS: tuple[OperationName, ...] = get_args(OperationName)
BULK: tuple[OperationName, ...] = (
    *("retry", "compensate", "cancel", "acknowledge", "pause", "resume"),
)
"""Those that make sense for many runs at once."""

_TAKES: dict[OperationName, frozenset[str]] = {
    "retry": frozenset({"step", "args"}),
    "skip": frozenset({"step", "result"}),
    "resolve": frozenset({"step", "result", "undone"}),
    "forget": frozenset({"step"}),
    "acknowledge": frozenset({"step", "cluster"}),
    "compensate": frozenset(),
    "cancel": frozenset(),
    "signal": frozenset({"name", "data"}),
    "pause": frozenset(),
    "resume": frozenset(),
    "budget": frozenset({"step", "attempts"}),
    "approve": frozenset({"number"}),
    "deny": frozenset({"number"}),
}
_NEEDS: dict[OperationName, tuple[str, ...]] = {
    "skip": ("step", "result"),
    "resolve": ("step",),
    "forget": ("step",),
    "signal": ("name",),
    "budget": ("step", "attempts"),
    "approve": ("number",),
    "deny": ("number",),
}
_NUMBERED: dict[str, type[msg.Approve | msg.Deny]] = {"approve": msg.Approve, "deny": msg.Deny}
_BARE: dict[str, type[msg.Compensate | msg.Cancel | msg.Pause | msg.Resume]] = {
    "compensate": msg.Compensate,
    "cancel": msg.Cancel,
    "pause": msg.Pause,
    "resume": msg.Resume,
}
REASON_MAX = 2_000


class Strict(BaseModel):
    """A body without fields that nobody reads."""

    model_config = ConfigDict(extra="forbid")


class Asked(Strict):
    """What an operation is given. Which fields it takes depends on the operation."""

    step: str | None = Field(
        default=None, description="retry, skip, resolve, forget, acknowledge, budget: the step."
    )
    args: dict[str, Any] | None = Field(default=None, description="retry: arguments to replace.")
    result: Any = Field(default=None, description="skip, resolve: the step's result.")
    undone: bool = Field(default=False, description="resolve: it has no effect.")
    cluster: str | None = Field(default=None, description="acknowledge: only its incidents.")
    name: str | None = Field(default=None, description="signal: what a step waits for.")
    data: Any = Field(default=None, description="signal: what it carries.")
    attempts: int | None = Field(default=None, description="budget: how often it may be tried.")
    number: int | None = Field(
        default=None, ge=1, description="approve, deny: of what waits for a second person."
    )
    reason: str = Field(default="", max_length=REASON_MAX, description="Why; kept with the event.")

    def message(
        self,
        operation: OperationName,
        *,
        at: float,
        actor: str,
        request: str = "",
        expects: int | None = None,
        bulk: str = "",
    ) -> msg.Asked | msg.Signal:
        """The kernel's message. Raises ``InvalidInputError`` for fields that don't go with the operation."""
        self._check(operation)
        asked: dict[str, Any] = {"at": at, "actor": actor, "reason": self.reason}
        if operation == "signal":
            name = self.name or ""
            return msg.Signal(**asked, name=name, data=encode(self.data, "data"), signal_id=request)
        asked |= {"request": request, "expects": expects, "bulk": bulk}
        step = self.step or ""
        match operation:
            case "retry":
                return msg.Retry(**asked, step=self.step, args=encode(self.args, "args"))
            case "skip":
                return msg.Skip(**asked, step=step, result=encode(self.result, "result"))
            case "resolve":
                result = encode(self.result, "result")
                return msg.Resolve(**asked, step=step, undone=self.undone, result=result)
            case "forget":
                return msg.Forget(**asked, step=step)
            case "acknowledge":
                return msg.Acknowledge(**asked, step=self.step, cluster=self.cluster)
            case "budget":
                return msg.Budget(**asked, step=step, attempts=self.attempts or 0)
            case "compensate" | "cancel" | "pause" | "resume":
                return _BARE[operation](**asked)
            case "approve" | "deny":
                return _NUMBERED[operation](**asked, number=self.number or 0)

    def _check(self, operation: OperationName) -> None:
        given = self.model_fields_set - {"reason"}
        foreign = sorted(given - _TAKES[operation])
        if foreign:
            takes = ", ".join(sorted(_TAKES[operation])) or "nothing but a reason"
            raise InvalidInputError(f"{operation} takes {takes}, not {', '.join(foreign)}")
        for name in _NEEDS.get(operation, ()):
            if name not in given or (name != "result" and not getattr(self, name)):
                raise InvalidInputError(f"{operation} needs {name}")
        if operation == "resolve" and self.undone == ("result" in given):
            raise InvalidInputError("resolve needs either a result or undone")


class Launching(Strict):
    """A run to launch."""

    saga: str
    input: dict[str, Any] = Field(default_factory=dict)
    key: str | None = Field(default=None, description="A second launch with it gives the same run.")
    tags: dict[str, str] = Field(default_factory=dict)


class Previewed(Asked):
    """An operation to preview."""

    operation: OperationName


class Expected(Strict):
    """A run of a bulk operation, with the ETag it was decided on."""

    run: str
    etag: str | None = None


class Filter(Strict):
    """Which runs, as in the list. Times in epoch seconds."""

    status: tuple[str, ...] = ()
    saga: str | None = None
    step: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    key: str | None = None
    text: str | None = None
    launched_after: float | None = None
    launched_before: float | None = None
    stuck: bool = False
    cluster: str | None = None


BulkChange = Literal["pause", "resume", "abort", "approve"]


class BulkRequest(Strict):
    """One operation for many runs: named, or all that fit a filter."""

    operation: Literal["retry", "compensate", "cancel", "acknowledge", "pause", "resume"]
    runs: list[Expected] | None = None
    filter: Filter | None = None
    step: str | None = Field(default=None, description="retry, acknowledge: only this step.")
    reason: str = Field(default="", max_length=REASON_MAX)

    def asked(self) -> Asked:
        """What each run's operation is given."""
        given: dict[str, Any] = {"reason": self.reason}
        if self.step is not None:
            given["step"] = self.step
        if self.operation == "acknowledge" and self.filter is not None and self.filter.cluster:
            given["cluster"] = self.filter.cluster
        return Asked(**given)


class Recording(BulkRequest):
    """One operation for many runs, as a record of its own. An ETag of a run has no meaning in it."""

    canaries: tuple[int, ...] = Field(default=CANARIES, description="Sizes of the first waves.")
    batch: int = Field(default=100, ge=1, description="Runs in each wave after those.")
    failures_max: float = Field(default=0.1, ge=0, le=1, description="Share of a wave.")
    settle_s: float = Field(default=60.0, gt=0, le=86_400)

    def limits(self) -> BulkLimits:
        """How carefully it goes on."""
        return BulkLimits(self.canaries, self.batch, self.failures_max, self.settle_s)


class Changing(Strict):
    """Why a bulk operation is paused, resumed or aborted."""

    reason: str = Field(default="", max_length=REASON_MAX)
