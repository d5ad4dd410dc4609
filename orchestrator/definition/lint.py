"""``lint``: what a plan may well do, and yet seldom should. Each finding has its place, its risk and the way out.

What can't work at all is refused when the saga is compiled (see ``rules``); that is a finding here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from orchestrator.definition.action import ActionSpec
from orchestrator.definition.building import source_of
from orchestrator.definition.facts import NOTHING_KNOWN, Facts
from orchestrator.definition.lint_shape import (
    past_the_pivot,
    results_used,
    side_by_side,
    unreachable,
)
from orchestrator.definition.plan import Call, Plan, RetryPolicy
from orchestrator.definition.saga import Saga
from orchestrator.errors import DefinitionError


class Finding(msgspec.Struct, frozen=True):
    """One thing to look at."""

    rule: str
    saga: str
    step: str
    where: str
    """File and line."""
    risk: str
    fix: str
    accepted: str = ""
    """Why it is as it should be, if the saga says so."""


RULES: dict[str, str] = {
    "definition": "what can't be compiled at all",
    "not-registered": "a step whose participant no service of the apps has",
    "undo-not-registered": "a step whose undo the service of the apps hasn't got",
    "undo-empty": "an undo without a statement that does anything",
    "undo-needs-result": "an undo that reads a result which may be None",
    "undo-gives-up-first": "an undo that is tried for a shorter time than its action",
    "refusal-past-pivot": "a step past the pivot whose participant may refuse",
    "no-idempotency-key": "a step with neither a barrier nor an idempotency key",
    "retry-past-timeout": "a step that is tried for longer than the saga may take",
    "unused-result": "a result that nothing reads",
    "unreachable-branch": "a branch that is never taken",
    "shared-resource": "steps at the same time that change the same",
    "accepted-nothing": "an accepted finding that isn't found",
}
"""Every rule with what it finds."""


def lint(
    saga: Saga[..., Any],
    facts: Mapping[str, Facts],
    registered: Mapping[str, ActionSpec] | None = None,
) -> list[Finding]:
    """Everything to look at in a saga, accepted findings included.

    ``facts`` are by ``service.action``; so is ``registered``, what workers have, and without it nothing is compared.
    """
    try:
        plan = saga.plan
    except DefinitionError as error:
        where = _where(str(error)) or source_of(saga.function)
        fix = "as the risk says; the saga can't be launched before"
        return [Finding("definition", saga.name, "", where, str(error), fix)]
    found = [finding for check in _CHECKS for finding in check(plan, facts)]
    if registered is not None:
        found += _not_registered(plan, registered)
    found = [
        msgspec.structs.replace(
            one,
            where=one.where or saga.sources.get(one.step) or source_of(saga.function),
            accepted=saga.accepted.get((one.rule, one.step), ""),
        )
        for one in found
    ]
    return found + list(_accepted_nothing(saga, found))


def _where(message: str) -> str:
    """The file and line in a ``DefinitionError`` of the builder: ``saga 'x', file:line: ...``."""
    for part in message.split(": ", 1)[0].split(", ")[1:]:
        if part.rpartition(":")[2].isdigit():
            return part
    return ""


def _finding(plan: Plan, rule: str, call: Call, risk: str, fix: str, where: str = "") -> Finding:
    return Finding(rule, plan.saga, call.name, where or call.source, risk, fix)


def _calls(plan: Plan) -> list[Call]:
    return [step for step, _ in plan.steps() if isinstance(step, Call)]


def _facts(facts: Mapping[str, Facts], call: Call) -> Facts:
    return facts.get(_qualified(call), NOTHING_KNOWN)


def _qualified(call: Call) -> str:
    return f"{call.service}.{call.participant}"


def _not_registered(plan: Plan, known: Mapping[str, ActionSpec]) -> Iterator[Finding]:
    for call in _calls(plan):
        spec = known.get(_qualified(call))
        if spec is not None and call.undo is not None and spec.undo is None:
            yield _finding(
                plan, "undo-not-registered", call,
                f"the saga counts on an undo of {_qualified(call)}, and its service has none: a run that needs it is "
                "stuck",
                f"attach it with @{call.participant}.undo, or correct the contract",
            )  # fmt: skip
        if spec is None:
            yield _finding(
                plan, "not-registered", call,
                f"no service of the apps has {_qualified(call)}: its command would wait for a worker that has it",
                "name the module that defines it with --app, or declare it with remote(...)",
            )  # fmt: skip


def _undos(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    past = past_the_pivot(plan)
    for call in _calls(plan):
        known = _facts(facts, call)
        if call.undo is None or call.name in past:
            continue
        if known.undo_is_empty:
            yield _finding(
                plan, "undo-empty", call,
                f"{call.undo.name} does nothing, so a compensated run leaves the effect of {call.name} behind",
                f"write it, or declare {call.participant} read_only=True if there is nothing to undo",
                known.undo_source,
            )  # fmt: skip
        if known.undo_needs_result and not call.barrier:
            yield _finding(
                plan, "undo-needs-result", call,
                f"when the answer of {call.name} is lost, {call.undo.name} gets None, fails, and the run is stuck",
                "ask whether the result is None, and then go by call.idempotency_key",
                known.undo_source,
            )  # fmt: skip
        done, undone = patience_s(call.retry), patience_s(call.undo.retry)
        if undone < done:
            yield _finding(
                plan, "undo-gives-up-first", call,
                f"{call.name} is tried for {done:g} s and its undo for {undone:g} s: an outage that the one survives "
                "leaves the other stuck",
                f"give the undo a Retry of at least the action's: @{call.participant}.undo(retry=...)",
                known.undo_source,
            )  # fmt: skip


def _refusals(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    past = past_the_pivot(plan)
    for call in _calls(plan):
        if call.name in past and _facts(facts, call).may_refuse:
            yield _finding(
                plan, "refusal-past-pivot", call,
                f"{_qualified(call)} raises Refused, and past the pivot nothing can be undone: the run is stuck",
                "move the step before the pivot, or call an action that only ever succeeds in the end",
            )  # fmt: skip


def _keys(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    for call in _calls(plan):
        if not call.barrier and not call.read_only and _facts(facts, call).uses_key is False:
            yield _finding(
                plan, "no-idempotency-key", call,
                f"{_qualified(call)} has no barrier and doesn't use its idempotency key: a message that comes twice "
                "takes effect twice",
                "declare a Session, or a Call and pass call.idempotency_key on",
            )  # fmt: skip


def _timeouts(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    del facts
    limit = plan.timeout_s
    past = past_the_pivot(plan)
    for call in _calls(plan):
        if limit is None or call.name in past:
            continue
        longest = max(call.timeout_s, patience_s(call.retry))
        if longest > limit:
            yield _finding(
                plan, "retry-past-timeout", call,
                f"{call.name} may be tried for {longest:g} s, and the saga's timeout of {limit:g} s ends it before",
                "lower the step's timeout or budget, or raise the saga's timeout",
            )  # fmt: skip


def _results(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    used = results_used(plan)
    for call in _calls(plan):
        known = _facts(facts, call)
        if known.returns and not known.undo_takes_result and call.name not in used:
            yield _finding(
                plan, "unused-result", call,
                f"nothing reads what {call.name} returns"
                + (", so the step does nothing" if call.read_only else ", though it is carried and stored"),
                "use it, leave the step out, or have the action return None",
            )  # fmt: skip


def _branches(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    del facts
    for name, step, why in unreachable(plan):
        where = step.source if isinstance(step, Call) else ""  # else that of the condition
        yield Finding(
            "unreachable-branch", plan.saga, name, where,
            f"{why}, so the branch is never taken",
            "leave out the condition, or correct it",
        )  # fmt: skip


def _resources(plan: Plan, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    for one, other in side_by_side(plan):
        shared = sorted({*_facts(facts, one).touches} & {*_facts(facts, other).touches})
        if shared and not (one.read_only or other.read_only):
            yield _finding(
                plan, "shared-resource", other,
                f"{one.name} and {other.name} run at the same time and both change {', '.join(shared)}: they wait "
                "for each other's locks, or deadlock",
                "put them in sequence",
            )  # fmt: skip


def _accepted_nothing(saga: Saga[..., Any], found: list[Finding]) -> Iterator[Finding]:
    there = {(finding.rule, finding.step) for finding in found}
    for (rule, step), reason in saga.accepted.items():
        if (rule, step) not in there:
            why = "" if rule in RULES else f"; there is no rule {rule!r}"
            yield Finding(
                "accepted-nothing", saga.name, step, source_of(saga.function),
                f"accept({rule!r}, {step!r}) ({reason}) would hide a finding that comes later{why}",
                "leave it out",
            )  # fmt: skip


Check = Callable[[Plan, Mapping[str, Facts]], Iterator[Finding]]
_CHECKS: tuple[Check, ...] = (
    _undos, _refusals, _keys, _timeouts, _results, _branches, _resources,
)  # fmt: skip


def patience_s(policy: RetryPolicy) -> float:
    """For how many seconds after the first attempt new ones are begun, jitter left out."""
    if policy.attempts is None:
        return policy.budget_s or 0.0
    waited = 0.0
    for failed in range(policy.attempts - 1):
        match policy.strategy:
            case "exponential":
                delay = policy.initial_s * policy.factor ** min(failed, 64)
            case "linear":
                delay = policy.initial_s * (1 + policy.factor * failed)
            case "fixed":
                delay = policy.initial_s
        waited += min(delay, policy.cap_s)
    return waited if policy.budget_s is None else min(waited, policy.budget_s)
