"""Every rule of lint: a saga in which it finds something, one in which it doesn't, and one that accepts the finding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy.orm import Session

from orchestrator import (
    Call,
    Refused,
    Retry,
    Service,
    otherwise,
    parallel,
    remote,
    saga,
    sleep,
    wait_for,
    when,
)
from orchestrator.definition.lint import RULES, Finding, lint
from orchestrator.definition.saga import Registry, Saga
from orchestrator.errors import DefinitionError
from orchestrator.participant.declare import Participant
from orchestrator.participant.source_facts import facts_about

shop = Service("shop", database="sqlite:///shop.db", timeout=5)
web = Service("web", timeout=5)
far = remote("far", timeout=5)
contract = remote("shop", timeout=5)


@shop.participant(touches=("stock",))
def hold(session: Session, n: int) -> int:
    """May refuse."""
    if n > 3:
        raise Refused("too many")
    return n


@hold.undo
def release(session: Session, held: int) -> None:
    """Reverse it."""
    session.delete(held)


@shop.participant(touches=("stock",))
def count(session: Session, n: int) -> int:
    """Never refuses."""
    return n


@count.undo
def uncount(session: Session, counted: int) -> None:
    """To be written."""


@shop.participant(touches=("prices",), retry=Retry(attempts=None, budget=600))
def price(session: Session, n: int) -> int:
    """Take its time."""
    return n


@price.undo(retry=Retry(attempts=2))
def unprice(session: Session, priced: int) -> None:
    """Give up early."""
    session.delete(priced)


@shop.participant
def ship(session: Session, n: int) -> None:
    """Return nothing."""


@shop.participant(read_only=True, touches=("stock",))
def look(session: Session, n: int) -> int:
    """Change nothing."""
    return n


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


@web.participant
def lend(call: Call, n: int) -> int:
    """Call the outside with one."""
    return len(call.idempotency_key) + n


@lend.undo
def unlend(call: Call, lent: int | None) -> int:
    """Think of None."""
    return len(call.idempotency_key) if lent is None else lent.real


@far.participant(undo=True)
def away(n: int) -> None:
    """Live elsewhere."""


@contract.participant(name="ship", undo=True)
def ship_from_afar(n: int) -> None:
    """Promise an undo of ``ship``, which has none."""


WORKERS: list[Participant[..., Any]] = [hold, count, price, ship, look, post, pay, lend]


class Case(NamedTuple):
    """A rule, the step at which it finds something, and a word of the risk it names."""

    rule: str
    step: str
    word: str
    bad: Callable[..., Any]
    good: Callable[..., Any]
    timeout_s: float | None = None


def no_undo(n: int) -> None:
    ship(n)
    hold(n)


def no_undo_needed(n: int) -> None:
    hold(n)
    ship(n)


def two_pivots(n: int) -> None:
    ship.pivot(n)
    ship.options(name="again").pivot(n)


def a_pivot_each(n: int) -> None:
    with when(n > 1):
        ship.pivot(n)
    with otherwise():
        ship.options(name="other").pivot(n)


def unknown(n: int) -> None:
    away(n)


def known(n: int) -> None:
    ship(n)


def promised(n: int) -> None:
    ship_from_afar(n)


def idle_undo(n: int) -> int:
    return count(n)


def real_undo(n: int) -> int:
    return hold(n)


def needs_it(n: int) -> int:
    return pay(n)


def asks_first(n: int) -> int:
    return lend(n)


def gives_up(n: int) -> int:
    return price(n)


def refuses_late(n: int) -> int:
    ship.pivot(n)
    return hold(n)


def refuses_early(n: int) -> int:
    held = hold(n)
    ship.pivot(n)
    return held


def keyless(n: int) -> None:
    post(n)


def longer(n: int) -> int:
    return hold.options(retry=Retry(attempts=None, budget=60))(n)


def shorter(n: int) -> int:
    return hold.options(retry=Retry(attempts=None, budget=10))(n)


def many_attempts(n: int) -> int:
    return hold.options(retry=Retry(attempts=30, initial=1, backoff="fixed"))(n)


def few_attempts(n: int) -> int:
    return hold.options(retry=Retry(attempts=10, initial=1, backoff="fixed"))(n)


def unread(n: int) -> int:
    look(n)
    return hold(n)


def read(n: int) -> int:
    return hold(look(n))


def never(n: int) -> None:
    with when(n > 2):
        with when(n > 2):
            wait_for("go", bool)
        with otherwise():
            sleep(5)


def sometimes(n: int) -> None:
    with when(n > 2):
        with when(n > 5):
            wait_for("go", bool)
        with otherwise():
            sleep(5)


def crowded(n: int) -> int:
    with parallel():
        held = hold(n)
        hold.options(name="other")(n)
    return held


def roomy(n: int) -> int:
    with parallel():
        held = hold(n)
        price(n)
        seen = look(n)
    return held + seen


CASES = [
    Case("definition", "", "no undo", no_undo, no_undo_needed),
    Case("definition", "", "pivot", two_pivots, a_pivot_each),
    Case("not-registered", "away", "far.away", unknown, known),
    Case("undo-not-registered", "ship", "shop.ship", promised, known),
    Case("undo-empty", "count", "leaves the effect of count", idle_undo, real_undo),
    Case("undo-needs-result", "pay", "gets None", needs_it, asks_first),
    Case("undo-gives-up-first", "price", "for 600 s", gives_up, real_undo),
    Case("refusal-past-pivot", "hold", "stuck", refuses_late, refuses_early),
    Case("no-idempotency-key", "post", "twice", keyless, asks_first),
    Case("retry-past-timeout", "hold", "20 s ends it", longer, shorter, timeout_s=20),
    Case("retry-past-timeout", "hold", "for 29 s", many_attempts, few_attempts, timeout_s=20),
    Case("unused-result", "look", "nothing reads", unread, read),
    Case("unreachable-branch", "when_2", "never taken", never, sometimes),
    Case("shared-resource", "other", "at the same time", crowded, roomy),
]


def _saga(function: Callable[..., Any], timeout_s: float | None) -> Saga[..., Any]:
    return saga(registry=Registry(), timeout=timeout_s)(function)


def _found(made: Saga[..., Any]) -> list[Finding]:
    try:
        facts = facts_about(made)
    except DefinitionError:
        facts = {}
    return lint(made, facts, {one.spec.qualified: one.spec for one in WORKERS})


@pytest.fixture(params=CASES, ids=[f"{c.rule}-{c.bad.__name__}" for c in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def test_a_rule_finds_what_it_is_for_and_says_where_why_and_the_way_out(case: Case) -> None:
    found = [f for f in _found(_saga(case.bad, case.timeout_s)) if f.rule == case.rule]
    [finding] = [f for f in found if f.step == (case.step or case.bad.__name__) or not case.step]
    assert case.word in finding.risk
    assert "\n" not in finding.risk
    assert ". " not in finding.risk.replace("...", ""), "one sentence"
    assert finding.fix
    file, line = finding.where.split(":")
    assert file == "tests/unit/definition/test_lint_rules.py"
    text = Path(__file__).read_text().splitlines()[int(line) - 1]
    place = "when" if case.rule == "unreachable-branch" else case.step
    assert place in text


def test_a_rule_finds_nothing_where_there_is_nothing(case: Case) -> None:
    assert case.rule not in {f.rule for f in _found(_saga(case.good, case.timeout_s))}


def test_a_finding_is_accepted_with_its_reason_and_not_without(case: Case) -> None:
    made = _saga(case.bad, case.timeout_s)
    [before] = [f for f in _found(made) if f.rule == case.rule and f.step == (case.step or f.step)]
    with pytest.raises(DefinitionError, match="give the reason"):
        made.accept(case.rule, before.step, reason=" ")
    made.accept(case.rule, before.step, reason="it is meant to be so")
    after = [f for f in _found(made) if f.rule == case.rule and f.step == before.step]
    if case.rule == "definition":
        assert not after[0].accepted, "what can't be launched can't be accepted"
    else:
        assert [f.accepted for f in after] == ["it is meant to be so"]


def test_an_acceptance_that_fits_nothing_is_found_and_one_that_fits_is_not() -> None:
    made = _saga(CASES[2].good, None)
    made.accept("unused-result", "ship", reason="there was one")
    made.accept("no-such-rule", "ship", reason="a slip")
    stale = {f.risk for f in _found(made) if f.rule == "accepted-nothing"}
    assert len(stale) == 2
    assert any("there is no rule 'no-such-rule'" in risk for risk in stale)
    fitting = _saga(CASES[2].bad, None)
    fitting.accept("not-registered", "away", reason="deployed with the next release")
    assert [f.rule for f in _found(fitting)] == ["not-registered"]


def test_every_rule_has_a_case() -> None:
    assert {*RULES} == {case.rule for case in CASES} | {"accepted-nothing"}
