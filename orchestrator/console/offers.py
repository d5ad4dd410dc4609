"""What an operator can do for a run now, each asked of the kernel, so that nothing is offered that it would refuse."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.client import Client
from orchestrator.console.requests import OperationName
from orchestrator.errors import RunNotFoundError
from orchestrator.kernel import messages as msg
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.advice import Advice
from orchestrator.views.look import RunLook
from orchestrator.views.steps import steps_of

_ENDED = frozenset({"completed", "compensated"})


class Offer(msgspec.Struct, frozen=True):
    """An operation, and how its page is asked for."""

    operation: OperationName
    label: str
    effect: str
    query: dict[str, str]
    first: bool = False
    """It is what most would do."""


def offers(client: Client, run: RunSummary, look: RunLook, now: float) -> list[Offer]:
    """The operations that the run's state allows."""
    found = [_advised(advice) for advice in look.advice if advice.step]
    found += list(_unacknowledged(run))
    found += list(_signals(look))
    found += list(_budgets(look))
    if run.status in _ENDED and not run.parked:
        return found
    found += list(_whole_run(client, run, now))
    return found


def _advised(advice: Advice) -> Offer:
    step = {"step": advice.step}
    match advice.operation:
        case "retry":
            return Offer("retry", f"Retry {advice.step}", advice.effect, step, first=True)
        case "skip":
            return Offer("skip", f"Skip {advice.step}", advice.effect, step)
        case "resolve as done":
            return Offer("resolve", f"Resolve {advice.step} as done", advice.effect, step)
        case "resolve as undone":
            query = {**step, "undone": "true"}
            return Offer("resolve", f"Resolve {advice.step} as undone", advice.effect, query)
        case "forget":
            return Offer("forget", f"Forget {advice.step}", advice.effect, step)
        case "compensate":
            return Offer("compensate", "Compensate the run", advice.effect, {})


def _signals(look: RunLook) -> Iterator[Offer]:
    for step in steps_of(look.plan):
        if step.status == "waiting":
            effect = f"give {step.step} the signal that it waits for"
            query = {"name": step.signal}
            yield Offer("signal", f"Signal {step.signal}", effect, query, first=True)


def _budgets(look: RunLook) -> Iterator[Offer]:
    """Of steps that were given up, and of those that back off."""
    for step in steps_of(look.plan):
        given_up = step.status in {"parked", "undo parked", "callback parked"}
        again = step.status in {"running", "undoing", "calling back"} and step.attempt > 1
        if (given_up or again) and step.shape in {"call", "callback"} and not step.group:
            effect = "say how often it may be tried, those made so far among them"
            yield Offer("budget", f"Attempts of {step.step}", effect, {"step": step.step})


def _unacknowledged(run: RunSummary) -> Iterator[Offer]:
    for one in run.incidents:
        if one.acked_at is None:
            effect = "take it on: nobody is told of it any more"
            yield Offer("acknowledge", f"Acknowledge {one.step}", effect, {"step": one.step})


def _whole_run(client: Client, run: RunSummary, now: float) -> Iterator[Offer]:
    whole: list[tuple[Offer, msg.Operation]] = [
        (
            Offer("retry", "Retry now", "try all that is parked or backs off again", {}),
            msg.Retry(at=now),
        ),
        (
            Offer("compensate", "Compensate the run", "give up and undo it", {}),
            msg.Compensate(at=now),
        ),
        (
            Offer("resume", "Resume the run", "have it go on", {}, first=True),
            msg.Resume(at=now),
        ),
        (
            Offer("pause", "Pause the run", "have it stand still; nothing new is sent", {}),
            msg.Pause(at=now),
        ),
        (Offer("cancel", "Cancel the run", "stop it and undo what it did", {}), msg.Cancel(at=now)),
    ]
    for offer, operation in whole:
        try:
            refused = client.preview(run.run_id, operation).refused
        except RunNotFoundError:  # no coordinator has taken it yet
            return
        if not refused and not (offer.operation == "retry" and len(run.parked) == 1):
            yield offer
