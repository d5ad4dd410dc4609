"""What an operator can do for a run now, each asked of the kernel, so that nothing is offered that it would refuse."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from orchestrator.client import Client
from orchestrator.console.requests import OperationName
from orchestrator.errors import OperationRefusedError, RunNotFoundError
from orchestrator.kernel import messages as msg
from orchestrator.kernel.second import possible
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.advice import Advice
from orchestrator.views.look import RunLook
from orchestrator.views.steps import steps_of

_ENDED = frozenset({"completed", "compensated"})
_OF_RUN: dict[str, type[msg.Compensate | msg.Cancel | msg.Pause | msg.Resume]] = {
    "compensate": msg.Compensate,
    "cancel": msg.Cancel,
    "pause": msg.Pause,
    "resume": msg.Resume,
}
_OF_STEP: dict[str, type[msg.Skip | msg.Forget | msg.Acknowledge]] = {
    "skip": msg.Skip,
    "forget": msg.Forget,
    "acknowledge": msg.Acknowledge,
}


class Offer(msgspec.Struct, frozen=True):
    """An operation, and how its page is asked for."""

    operation: OperationName
    label: str
    effect: str
    query: dict[str, str]
    first: bool = False
    """It is what most would do."""
    two_people: bool = False
    """It is only asked for, and waits for a second person."""


def offers(client: Client, run: RunSummary, look: RunLook, now: float) -> list[Offer]:
    """The operations that the run's state allows."""
    try:
        state = client.state(run.run_id)
    except RunNotFoundError:  # no coordinator has taken it yet
        return []
    found = [_advised(advice) for advice in look.advice if advice.step]
    found += list(_unacknowledged(run))
    found += list(_signals(look))
    found += list(_budgets(look))
    if run.status not in _ENDED or run.parked:
        found += [offer for offer in _whole_run(run) if _is_possible(state, offer, now)]
    return [replace(offer, two_people=_takes_two(client, state, offer, now)) for offer in found]


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


def _whole_run(run: RunSummary) -> Iterator[Offer]:
    if len(run.parked) != 1:  # else its step has an offer of its own
        yield Offer("retry", "Retry now", "try all that is parked or backs off again", {})
    yield Offer("compensate", "Compensate the run", "give up and undo it", {})
    yield Offer("resume", "Resume the run", "have it go on", {}, first=True)
    yield Offer("pause", "Pause the run", "have it stand still; nothing new is sent", {})
    yield Offer("cancel", "Cancel the run", "stop it and undo what it did", {})


def _is_possible(state: RunState, offer: Offer, now: float) -> bool:
    message = _message(offer, now)
    assert message is not None, offer.operation
    try:
        possible(state, message)
    except OperationRefusedError:
        return False
    return True


def _takes_two(client: Client, state: RunState, offer: Offer, now: float) -> bool:
    message = _message(offer, now)
    return message is not None and client.two_people.needed(state, message)


def _message(offer: Offer, now: float) -> msg.Operation | None:
    """What it would send, but for what is still to be filled in; None for a signal."""
    name, step = offer.operation, offer.query.get("step", "")
    if name in _OF_RUN:
        return _OF_RUN[name](at=now)
    if name in _OF_STEP:
        return _OF_STEP[name](at=now, step=step)
    match name:
        case "retry":
            return msg.Retry(at=now, step=step or None)
        case "resolve":
            return msg.Resolve(at=now, step=step, undone="undone" in offer.query)
        case "budget":
            return msg.Budget(at=now, step=step, attempts=1)
        case _:
            return None
