"""Sagas with an atomic group, one for each way to take part, and then a step that may be refused."""

from __future__ import annotations

from orchestrator.definition.plan import (
    Atomic,
    Branch,
    Call,
    Const,
    Finish,
    Plan,
    RetryPolicy,
    Sequence,
    Undo,
)
from orchestrator.testing.simulation.growth import STEP_TIMEOUT_S

_RETRY = RetryPolicy(attempts=3, initial_s=1.0)
_UNDO_RETRY = RetryPolicy(attempts=None, budget_s=60.0, initial_s=1.0)


def _call(name: str, kind: str, branch: Branch = "") -> Call:
    service, _, participant = kind.partition(".")
    finish = (
        Finish(f"{participant}.finish", STEP_TIMEOUT_S, _UNDO_RETRY) if branch == "tcc" else None
    )
    return Call(
        name=name,
        service=service,
        participant=participant,
        queue=f"saga.{service}",
        args={"a": Const(1)},
        timeout_s=STEP_TIMEOUT_S,
        retry=_RETRY,
        undo=Undo(f"{participant}.undo", STEP_TIMEOUT_S, _UNDO_RETRY),
        barrier=participant != "hold",
        branch=branch,
        confirm=finish,
        cancel=finish,
    )


def _plan(name: str, one: Call, two: Call) -> Plan:
    group = Atomic("both", (one, two), 20.0, _RETRY)
    return Plan(name, 1, {}, Sequence((group, _call("after", "shop.act"))))


PREPARED = _plan(
    "both_prepared", _call("one", "vault.move", "database"), _call("two", "safe.move", "database")
)
LAST = _plan("one_last", _call("one", "vault.move", "database"), _call("two", "shop.act", "last"))
TRIED = _plan("both_tried", _call("one", "shop.book", "tcc"), _call("two", "bank.hold", "tcc"))
