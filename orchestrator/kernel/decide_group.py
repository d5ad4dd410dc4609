"""What an answer, a deadline or a new coordinator means for an atomic group, and what follows from its state.

The decision is made here and nowhere else: commit once all branches have said yes, abort for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.backoff import ALWAYS_FINAL, delay_s
from orchestrator.kernel.group import must_recall
from orchestrator.kernel.pause import goes_on
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import KIND, Phase, RunState, Status, StepState
from orchestrator.kernel.two_phase import (
    SECOND_PHASE,
    all_said_yes,
    branches_of,
    group_of,
    is_one_phase,
    node_of,
    one_phase_of,
    rests,
    second_phase,
)

UNREGISTERED = "Unregistered"
"""The type of the failure of a branch that no worker has."""

_VOTELESS = ev.Failure("NoVote", "it answered without a vote")
_ALONE = ev.Failure("CommittedAlone", "it says it has committed, which it was not asked to")


def answered(run: RunState, step: StepState, reply: msg.Reply, missing: str) -> ev.Event:
    """What a reply to the question outstanding means. ``missing``: what to say if nobody has the participant."""
    if reply.outcome == "unregistered":
        return _failed(run, step, reply, ev.Failure(UNREGISTERED, missing))
    match reply.kind:
        case "prepare":
            return _voted(run, step, reply)
        case "commit":
            return _told(run, step, reply, agrees="heuristic_commit")
        case _:
            if reply.outcome == "succeeded" and reply.vote == "committed":
                return _had_committed(run, step, reply)
            return _told(run, step, reply, agrees="heuristic_rollback")


def in_doubt(
    run: RunState, step: StepState, message: msg.Reply | msg.Expired, reason: str
) -> ev.Event:
    """The outcome isn't known. A vote is asked for again while there is time, a decision told for ever."""
    return ev.StepInDoubt(
        at=message.at,
        step=message.step,
        kind=message.kind,
        attempt=message.attempt,
        reason=reason,
        retry_at=_again_at(run, step, message),
    )


def timed_out(run: RunState, key: str, at: float) -> list[ev.Event]:
    """The time for a group's votes is over, if it is."""
    group, node = run.steps[key], node_of(run, key)
    if group.status is not Status.VOTING or at < group.due + node.timeout_s:
        return []
    missing = [
        call.name
        for _, step, call in branches_of(run, key)
        if step.status in {Status.PREPARING, Status.HELD}
    ]
    reason = f"no decision within {node.timeout_s:g} s: no vote from {', '.join(missing)}"
    return [_taken_back(run, key, at, reason, None)]


def recovered(run: RunState, at: float) -> list[ev.Event]:
    """No decision on record means abort; the attempt doesn't count, and another follows at once."""
    reason = "another coordinator took over before there was a decision"
    return [
        _withdrawal(run, key, at, reason, None, "retry", at, counts=False)
        for key, step in run.steps.items()
        if step.status is Status.VOTING and not rests(step, at) and goes_on(run, key)
    ]


def consequence(run: RunState, event: ev.Event, at: float) -> ev.Event | None:
    """What follows for the group that ``event`` was about."""
    key = getattr(event, "step", None)
    if not isinstance(key, str) or key not in run.steps:
        return None
    if (stuck := _stuck(run, key, event)) is not None:
        return stuck
    group = group_of(run, key)
    if group is None:
        return None
    match run.steps[group].status:
        case Status.VOTING:
            return _verdict(run, group, at)
        case Status.RECALLING:
            return _verdict_of_one(run, group, at)
        case _:
            return None


def closed_group(run: RunState, event: ev.Event) -> str | None:
    """The group that ``event`` may have brought to its end."""
    key = getattr(event, "step", None)
    if not isinstance(key, str) or key not in run.steps:
        return None
    return key if isinstance(event, ev.AbortDecided) else group_of(run, key)


def is_waitable(events: Sequence[ev.Event], before: RunState, after: RunState) -> bool:
    """Whether nothing depends yet on these events being durable: they are votes and acknowledgements after which
    nothing is outstanding that wasn't before.
    """
    if not all(isinstance(event, _WAITABLE) for event in events):
        return False
    known = pending(before)
    return all(command in known for command in pending(after))


_WAITABLE = (ev.BranchVoted, ev.BranchCommitted, ev.BranchAborted)


# -- answers


def _voted(run: RunState, step: StepState, reply: msg.Reply) -> ev.Event:
    match reply.outcome:
        case "succeeded":
            if reply.vote is None:
                return _failed(run, step, reply, _VOTELESS)
            if reply.vote == "committed" and not is_one_phase(run, step):
                return _failed(run, step, reply, _ALONE)
            return ev.BranchVoted(
                at=reply.at,
                step=reply.step,
                attempt=reply.attempt,
                vote=reply.vote,
                result=reply.result,
                took_s=reply.took_s,
            )
        case "refused":
            return ev.StepRefused(
                at=reply.at, step=reply.step, attempt=reply.attempt, failure=_failure(reply)
            )
        case "lost" | "rejected":
            return in_doubt(run, step, reply, _unknown(reply))
        case _:
            return _failed(run, step, reply, _failure(reply))


def _told(run: RunState, step: StepState, reply: msg.Reply, agrees: msg.Outcome) -> ev.Event:
    """The answer to a decision. A heuristic outcome that ``agrees`` with it is as good as having obeyed."""
    if reply.outcome in {"succeeded", agrees}:
        if reply.kind == "abort":
            return ev.BranchAborted(at=reply.at, step=reply.step, attempt=reply.attempt)
        return ev.BranchCommitted(
            at=reply.at,
            step=reply.step,
            attempt=reply.attempt,
            result=reply.result,
            took_s=reply.took_s,
        )
    match reply.outcome:
        case "heuristic_rollback":
            return _astray(run, reply, "rollback")
        case "heuristic_commit":
            return _astray(run, reply, "commit")
        case "protocol_error":
            return _astray(run, reply, "protocol error")
        case "lost" | "rejected":
            return in_doubt(run, step, reply, _unknown(reply))
        case _:
            return _failed(run, step, reply, _failure(reply))


def _had_committed(run: RunState, step: StepState, reply: msg.Reply) -> ev.Event:
    if not is_one_phase(run, step):
        return _astray(run, reply, "commit")
    return ev.BranchVoted(
        at=reply.at,
        step=reply.step,
        attempt=reply.attempt,
        vote="committed",
        result=reply.result,
        took_s=reply.took_s,
    )


_WORDS: dict[ev.Found, str] = {
    "rollback": "was told to commit and is rolled back",
    "commit": "was told to abort and is committed",
    "protocol error": "says that it was never asked to vote",
}


def _astray(run: RunState, reply: msg.Reply, found: ev.Found) -> ev.Event:
    key = group_of(run, reply.step)
    assert key is not None, reply.step
    others = ", ".join(
        f"{call.name} {step.status.value}"
        for branch, step, call in branches_of(run, key)
        if branch != reply.step
    )
    said = f": {reply.failure.message}" if reply.failure is not None else ""
    return ev.HeuristicFound(
        at=reply.at,
        step=reply.step,
        kind=reply.kind,
        attempt=reply.attempt,
        found=found,
        reason=f"it {_WORDS[found]}{said}; the other branches: {others or 'none'}",
        failure=reply.failure,
    )


def _failed(run: RunState, step: StepState, reply: msg.Reply, failure: ev.Failure) -> ev.Event:
    return ev.StepFailed(
        at=reply.at,
        step=reply.step,
        kind=reply.kind,
        attempt=reply.attempt,
        failure=failure,
        retry_at=None if reply.kind == "prepare" else _again_at(run, step, reply),
    )


def _failure(reply: msg.Reply) -> ev.Failure:
    return reply.failure or ev.Failure("Error", f"it {reply.outcome} without a reason")


def _unknown(reply: msg.Reply) -> str:
    if reply.failure is not None:
        return reply.failure.message
    return "the worker was lost" if reply.outcome == "lost" else "the participant rejected it"


def _again_at(run: RunState, step: StepState, message: msg.Reply | msg.Expired) -> float | None:
    call = run.program.call(step.name)
    failed = step.attempt - step.base
    seed = f"{run.run_id}:{message.step}:{message.kind}:{step.round}"
    if message.kind != "prepare":
        _, policy = second_phase(call, message.kind)
        return message.at + delay_s(policy, failed, seed)
    key = group_of(run, message.step)
    assert key is not None, message.step
    group = run.steps[key]
    if group.status is not Status.VOTING:
        return None
    if call.retry.attempts is not None and failed >= call.retry.attempts:
        return None
    at = message.at + delay_s(call.retry, failed, seed)
    return at if at < group.due + node_of(run, key).timeout_s else None


# -- consequences


def _stuck(run: RunState, key: str, event: ev.Event) -> ev.Event | None:
    """A decision that can't be told is an incident after so many attempts, and told on all the same."""
    step = run.steps[key]
    if step.status not in {Status.COMMITTING, Status.ABORTING}:
        return None
    if not isinstance(event, ev.StepFailed | ev.StepInDoubt):
        return None
    kind = KIND[step.status]
    _, policy = second_phase(run.program.call(step.name), kind)
    most = policy.attempts or SECOND_PHASE.attempts or 1
    unregistered = isinstance(event, ev.StepFailed) and event.failure.type == UNREGISTERED
    if event.attempt - step.base < most and not unregistered:
        return None
    return ev.StepParked(at=event.at, step=key, kind=kind, reason=step.reason)


def _verdict(run: RunState, key: str, at: float) -> ev.Event | None:
    if all_said_yes(run, key):
        return ev.CommitDecided(at=at, step=key)
    for branch, step, _ in branches_of(run, key):
        if step.status is Status.REFUSED:
            reason = f"{branch}: {step.reason}"
            return _withdrawal(run, key, at, reason, step.failure, "refuse", None)
        if step.status is Status.FAILED:
            reason = f"{branch}: {step.reason}"
            if step.failure is not None and step.failure.type == UNREGISTERED:
                return _withdrawal(run, key, at, reason, step.failure, "park", None)
            return _taken_back(run, key, at, reason, step.failure)
    return None


def _verdict_of_one(run: RunState, key: str, at: float) -> ev.Event | None:
    """The recalled branch has said what it did."""
    branch = one_phase_of(run, key)
    assert branch is not None, key
    if run.steps[branch].status is Status.DONE:
        return ev.CommitDecided(at=at, step=key) if all_said_yes(run, key) else None
    if run.steps[branch].status is not Status.ABORTED:
        return None
    group = run.steps[key]
    return ev.AbortDecided(
        at=at,
        step=key,
        reason=group.reason,
        failure=group.failure,
        then=group.then,
        retry_at=group.retry_at or None,
        counts=group.counts,
    )


def _taken_back(
    run: RunState, key: str, at: float, reason: str, failure: ev.Failure | None
) -> ev.Event:
    """Abort; another attempt follows if the group has one left."""
    retry_at = _next_round_at(run, key, at, failure)
    then: ev.AfterAbort = "fail" if retry_at is None else "retry"
    return _withdrawal(run, key, at, reason, failure, then, retry_at)


def _withdrawal(
    run: RunState,
    key: str,
    at: float,
    reason: str,
    failure: ev.Failure | None,
    then: ev.AfterAbort,
    retry_at: float | None,
    *,
    counts: bool = True,
) -> ev.Event:
    made = ev.OnePhaseRecalled if must_recall(run, key) else ev.AbortDecided
    return made(
        at=at,
        step=key,
        reason=reason,
        failure=failure,
        then=then,
        retry_at=retry_at,
        counts=counts,
    )


def _next_round_at(run: RunState, key: str, at: float, failure: ev.Failure | None) -> float | None:
    if run.phase is not Phase.FORWARD:
        return None
    group, policy = run.steps[key], node_of(run, key).retry
    final = {*policy.final, *_final_of_branches(run, key), *ALWAYS_FINAL}
    if failure is not None and not final.isdisjoint(failure.kinds):
        return None
    failed = group.attempt - group.base
    if policy.attempts is not None and failed >= policy.attempts:
        return None
    then = at + delay_s(policy, failed, f"{run.run_id}:{key}")
    if policy.budget_s is not None and then > group.since + policy.budget_s:
        return None
    return None if run.deadline is not None and then > run.deadline else then


def _final_of_branches(run: RunState, key: str) -> set[str]:
    return {kind for _, _, call in branches_of(run, key) for kind in call.retry.final}
