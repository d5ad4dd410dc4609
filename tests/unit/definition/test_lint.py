"""Every rule of lint finds what it is for, at its place, and can be accepted with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy.orm import Session

from orchestrator import Call, Refused, Retry, Service, otherwise, parallel, remote, saga, when
from orchestrator.definition.action import ActionSpec
from orchestrator.definition.lint import RULES, Finding, lint, patience_s
from orchestrator.definition.plan import RetryPolicy
from orchestrator.definition.saga import Registry, Saga
from orchestrator.errors import DefinitionError
from orchestrator.participant.source_facts import facts_about

shop = Service("shop", database="sqlite:///shop.db", timeout=5)
web = Service("web")
far = remote("far")


@shop.participant(touches=("stock",))
def hold(session: Session, n: int) -> int:
    """Refuse through a function of its own."""
    _check(n)
    return n


def _check(n: int) -> None:
    if n > 3:
        raise Refused("too many")


@hold.undo
def release(session: Session, held: int) -> None:
    """Reverse it."""
    session.delete(held)


@shop.participant(touches=("stock", "prices"))
def price(session: Session, n: int) -> int:
    """Never refuses."""
    return n


@price.undo(retry=Retry(attempts=2))
def unprice(session: Session, priced: int) -> None:
    """Give up early, and do nothing."""


@shop.participant(read_only=True)
def look(session: Session, n: int) -> int:
    """Change nothing."""
    return n


@shop.participant
def ship(session: Session, n: int) -> None:
    """Return nothing."""


@web.participant
def post(n: int) -> None:
    """Call the outside without a key."""


@web.participant
def pay(call: Call, n: int) -> int:
    """Call the outside with one."""
    return len(call.idempotency_key) + n


@pay.undo
def unpay(call: Call, paid: int | None) -> int:
    """Forget about None."""
    return paid.real  # type: ignore[union-attr]


@far.participant(undo=True)
def away(n: int) -> None:
    """Live elsewhere."""


def _found(
    made: Saga[..., Any], registered: Mapping[str, ActionSpec] | None = None
) -> list[Finding]:
    try:
        facts = facts_about(made)
    except DefinitionError:
        facts = {}
    return lint(made, facts, registered)


def _rules(made: Saga[..., Any]) -> set[tuple[str, str]]:
    return {(finding.rule, finding.step) for finding in _found(made)}


def test_a_sound_saga_has_no_findings() -> None:
    @saga(registry=Registry())
    def sound(n: int) -> int:
        held = hold(n)
        ship.pivot(held)
        return held

    assert _found(sound) == []


def test_undos_that_do_nothing_give_up_early_or_need_a_result() -> None:
    @saga(registry=Registry())
    def undoing(n: int) -> int:
        return price(n) + pay(n)

    found = {(f.rule, f.step): f for f in _found(undoing)}
    assert set(found) == {
        ("undo-empty", "price"),
        ("undo-gives-up-first", "price"),
        ("undo-needs-result", "pay"),
    }
    first_line = unprice.__code__.co_firstlineno
    assert found["undo-empty", "price"].where == f"tests/unit/definition/test_lint.py:{first_line}"
    assert "leaves the effect of price behind" in found["undo-empty", "price"].risk


def test_a_refusal_past_the_pivot_is_found_through_a_function() -> None:
    @saga(registry=Registry())
    def late(n: int) -> int:
        ship.pivot(n)
        return hold(n)

    assert _rules(late) == {("refusal-past-pivot", "hold")}


def test_a_step_without_barrier_and_key() -> None:
    @saga(registry=Registry())
    def keyless(n: int) -> None:
        post(n)

    [finding] = _found(keyless)
    assert finding.rule == "no-idempotency-key"
    assert finding.where.startswith("tests/unit/definition/test_lint.py:")


def test_a_budget_longer_than_the_saga_may_take() -> None:
    @saga(registry=Registry(), timeout=20)
    def hasty(n: int) -> int:
        held = hold.options(retry=Retry(attempts=None, budget=60))(n)
        ship.options(retry=Retry(attempts=None, budget=600)).pivot(held)
        return held

    assert ("retry-past-timeout", "hold") in _rules(hasty)
    assert ("retry-past-timeout", "ship") in _rules(hasty)


def test_an_unused_result() -> None:
    @saga(registry=Registry())
    def idle(n: int) -> int:
        look(n)
        return hold(n)

    [finding] = _found(idle)
    assert (finding.rule, finding.step) == ("unused-result", "look")
    assert "does nothing" in finding.risk


def test_a_branch_that_is_never_taken() -> None:
    @saga(registry=Registry())
    def branching(n: int) -> None:
        with when(n > 2):
            with when(n > 2):
                hold(n)
            with otherwise():
                hold.options(name="never")(n)

    [finding] = _found(branching)
    assert finding.where.startswith("tests/unit/definition/test_lint.py:")
    assert finding.rule == "unreachable-branch"
    assert "decided by one around it" in finding.risk


def test_steps_at_the_same_time_that_change_the_same() -> None:
    @saga(registry=Registry())
    def crowded(n: int, many: list[int]) -> int:
        with parallel():
            held = hold(n)
            hold.options(name="other")(n)
        hold.options(name="each").map(many)
        return held

    assert _rules(crowded) == {("shared-resource", "other"), ("shared-resource", "each")}


def test_what_is_not_registered_unless_it_is_remote() -> None:
    @saga(registry=Registry())
    def spread(n: int) -> int:
        held = hold(n)
        away(n)
        return held

    registered = {"far.away": away.spec, "shop.ship": ship.spec}
    assert [(f.rule, f.step) for f in _found(spread, registered)] == [("not-registered", "hold")]


def test_what_cannot_be_compiled_is_a_finding_with_its_place() -> None:
    @saga(registry=Registry())
    def impossible(n: int) -> None:
        ship(n)
        hold(n)

    [finding] = _found(impossible)
    assert finding.rule == "definition"
    assert "has no undo" in finding.risk
    assert finding.where.startswith("tests/unit/definition/test_lint.py:")


def test_a_finding_is_accepted_with_a_reason_and_only_where_it_is() -> None:
    @saga(registry=Registry())
    def keyless(n: int) -> None:
        post(n)

    before = keyless.plan_hash
    keyless.accept("no-idempotency-key", "post", reason="posting twice changes nothing")
    keyless.accept("unused-result", "post", reason="there was one once")
    accepted, stale = _found(keyless)
    assert accepted.accepted == "posting twice changes nothing"
    assert (stale.rule, stale.step) == ("accepted-nothing", "post")
    assert keyless.plan.hash == before
    with pytest.raises(DefinitionError, match="give the reason"):
        keyless.accept("unused-result", "post", reason=" ")


def test_every_rule_is_documented() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs" / "lint.md").read_text()
    assert [rule for rule in RULES if f"`{rule}`" not in text] == []


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (RetryPolicy(attempts=4, initial_s=1.0), 7.0),
        (RetryPolicy(attempts=4, initial_s=1.0, cap_s=2.0), 5.0),
        (RetryPolicy(attempts=3, initial_s=2.0, strategy="fixed"), 4.0),
        (RetryPolicy(attempts=1), 0.0),
        (RetryPolicy(attempts=None, budget_s=90.0), 90.0),
    ],
)
def test_patience_is_the_time_over_which_attempts_begin(
    policy: RetryPolicy, seconds: float
) -> None:
    assert patience_s(policy) == seconds
