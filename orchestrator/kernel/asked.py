"""What an operator asked for, as the events tell it: what an audit lists."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.kernel import events as ev

OPERATION_OF: Mapping[str, str] = {
    "StepRetried": "retry",
    "StepSkipped": "skip",
    "StepResolved": "resolve",
    "HeuristicForgotten": "forget",
    "SignalReceived": "signal",
    "IncidentAcknowledged": "acknowledge",
    "RunPaused": "pause",
    "RunResumed": "resume",
    "BudgetSet": "budget",
    "HoldPlaced": "hold",
    "HoldReleased": "release",
    "ApprovalAsked": "ask",
    "ApprovalGiven": "approve",
    "ApprovalDenied": "deny",
    "BranchAsked": "ask",
    "BranchRuled": "decide",
    "BulkSteered": "bulk",
}
"""The operation behind each type of event that only an operation leads to."""
OPERATIONS = (*dict.fromkeys(OPERATION_OF.values()), "compensate", "cancel")
"""The name of every operation."""

LEADS_TO: Mapping[str, tuple[type, ...]] = {
    "retry": (ev.StepRetried,),
    "skip": (ev.StepSkipped,),
    "resolve": (ev.StepResolved,),
    "forget": (ev.HeuristicForgotten,),
    "acknowledge": (ev.IncidentAcknowledged,),
    "compensate": (ev.CompensationStarted,),
    "cancel": (ev.CompensationStarted,),
    "signal": (ev.SignalReceived,),
    "pause": (ev.RunPaused,),
    "resume": (ev.RunResumed,),
    "budget": (ev.BudgetSet,),
    "approve": (ev.ApprovalGiven,),
    "deny": (ev.ApprovalDenied,),
}
"""The events of an operation on a run that was carried out."""


def operation_of(event: ev.Event) -> str:
    """The operation that led to an event; empty if it was none."""
    if isinstance(event, ev.OperationRefused):
        return event.operation
    if isinstance(event, ev.CompensationStarted):
        return event.operation or ("compensate" if event.actor else "")
    return OPERATION_OF.get(type(event).__name__, "")
