"""``with atomic():``: what may stand inside, what becomes of it in the plan, and how it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.definition.action import Action
from orchestrator.definition.atomic import atomic
from orchestrator.definition.diff import differences
from orchestrator.definition.drawing import mermaid, svg
from orchestrator.definition.facts import Facts
from orchestrator.definition.lint import lint
from orchestrator.definition.plan import (
    Atomic,
    Call,
    Each,
    Finish,
    Parallel,
    Plan,
    RetryPolicy,
    When,
    decode_plan,
)
from orchestrator.definition.retry import Retry
from orchestrator.definition.shapes import parallel, sequence, sleep, wait_for, when
from orchestrator.errors import DefinitionError
from tests.unit.definition.actions import action, compiled, define, final, reading


def two_phase(made: Action[Any, Any]) -> Action[Any, Any]:
    """Allow an action to be prepared."""
    made.spec = replace(made.spec, two_phase=True)
    return made


def tried(made: Action[Any, Any]) -> Action[Any, Any]:
    """Give an action a confirm and a cancel, and take its database away."""
    way = Finish("way", 5.0, RetryPolicy())
    made.spec = replace(made.spec, barrier=False, confirm=way, cancel=replace_name(way, "back"))
    return made


def replace_name(way: Finish, name: str) -> Finish:
    return Finish(name, way.timeout_s, way.retry)


@action
def debit(amount: int) -> str:
    return ""


@action
def credit(amount: int, after: str = "") -> str:
    return ""


@final
def post(amount: int) -> None: ...


@action
def plain(amount: int) -> str:
    return ""


@action
def hold(amount: int) -> str:
    return ""


@reading
def look(amount: int) -> int:
    return 0


two_phase(debit)
two_phase(credit)
two_phase(post)
tried(hold)


def group_of(plan: Plan) -> Atomic:
    return next(node for node in plan.body.nodes if isinstance(node, Atomic))


def test_a_group_is_one_node_with_its_branches() -> None:
    def transfer(amount: int) -> None:
        with atomic(timeout=20, retry=Retry(attempts=2)):
            debit(amount)
            credit(amount)
            hold(amount)
            look(amount)

    plan = compiled(transfer)
    group = group_of(plan)
    assert (group.name, group.timeout_s, group.retry.attempts) == ("atomic", 20.0, 2)
    assert [(call.name, call.branch) for call in group.branches] == [
        ("debit", "database"),
        ("credit", "database"),
        ("hold", "tcc"),
        ("look", "reader"),
    ]
    assert [finish and finish.name for finish in _ways(group.branches[2])] == ["way", "back"]
    assert decode_plan(plan.encoded()) == plan
    assert [step.name for step, _ in plan.steps()] == ["debit", "credit", "hold", "look"]


def _ways(call: Call) -> list[Finish | None]:
    return [call.confirm, call.cancel]


def test_outside_a_group_the_same_actions_are_plain_steps() -> None:
    def one(amount: int) -> None:
        debit(amount)

    [call] = compiled(one).body.nodes
    assert isinstance(call, Call)
    assert call.branch == ""


def test_the_last_comes_last_and_may_be_one_that_cannot_prepare() -> None:
    def transfer(amount: int) -> None:
        with atomic(last=plain):
            plain(amount)
            debit(amount)

    group = group_of(compiled(transfer))
    assert [(call.name, call.branch) for call in group.branches] == [
        ("debit", "database"),
        ("plain", "last"),
    ]


def test_results_are_read_after_the_group() -> None:
    def transfer(amount: int) -> str:
        with atomic():
            done = debit(amount)
            credit(amount)
        return credit(amount, done)

    assert [node for node in compiled(transfer).body.nodes if isinstance(node, Call)]


def test_groups_nest_in_parallel_when_and_sagas_that_are_mapped() -> None:
    def inner(amount: int) -> None:
        with atomic():
            debit(amount)

    each = define(inner)

    def outer(amounts: list[int], *, yes: bool) -> None:
        with parallel():
            with atomic():
                debit(1)
                credit(1)
            with atomic():
                debit(2)
        with when(yes), atomic():
            credit(3)
        each.map(amounts)

    nodes = compiled(outer).body.nodes
    assert isinstance(nodes[0], Parallel)
    assert [getattr(branch, "name", "") for branch in nodes[0].branches] == ["atomic", "atomic_2"]
    assert isinstance(nodes[1], When)
    assert isinstance(nodes[1].then, Atomic)
    assert isinstance(nodes[2], Each)


def _nested(amount: int) -> None:
    with atomic(), atomic():
        debit(amount)


def _empty(amount: int) -> None:
    with atomic():
        pass
    debit(amount)


def _not_allowed(amount: int) -> None:
    with atomic():
        plain(amount)


def _without_database(amount: int) -> None:
    outside = action(plain_function)
    outside.spec = replace(outside.spec, barrier=False)
    with atomic():
        outside(amount)


def plain_function(amount: int) -> str:
    return ""


def _half_a_try(amount: int) -> None:
    half = action(plain_function)
    half.spec = replace(half.spec, confirm=Finish("way", 5.0, RetryPolicy()))
    with atomic():
        half(amount)


def _uses_a_sibling(amount: int) -> None:
    with atomic():
        credit(amount, debit(amount))


def _waits(amount: int) -> None:
    with atomic():
        debit(amount)
        wait_for("go", int)


def _sleeps(amount: int) -> None:
    with atomic():
        debit(amount)
        sleep(1)


def _in_sequence(amount: int) -> None:
    with atomic(), sequence():
        debit(amount)
        credit(amount)


def _maps(amounts: list[int]) -> None:
    with atomic():
        debit.map(amounts)


def _last_is_missing(amount: int) -> None:
    with atomic(last=plain):
        debit(amount)


def _last_without_database(amount: int) -> None:
    with atomic(last=hold):
        debit(amount)
        hold(amount)


def _two_pivots(amount: int) -> None:
    with atomic():
        debit.pivot(amount)
        credit.pivot(amount)


def _pivot_beside_others(amount: int) -> None:
    with parallel():
        with atomic():
            debit.pivot(amount)
        credit(amount)


def _without_undo(amount: int) -> None:
    with atomic():
        post(amount)
    debit(amount)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_nested, "one group is enough"),
        (_empty, "no step inside"),
        (_not_allowed, r"plain can't be inside atomic\(\).*two_phase=True.*last="),
        (_without_database, "isn't in a database"),
        (_half_a_try, r"no cancel; add @plain_function\.cancel"),
        (_uses_a_sibling, "another step of the same atomic"),
        (_waits, r"wait\(\) is inside"),
        (_sleeps, r"sleep\(\) is inside"),
        (_in_sequence, r"sequence\(\) is inside"),
        (_maps, r"\.map\(\) is inside"),
        (_last_is_missing, "exactly one step of its action inside; there are 0"),
        (_last_without_database, "can't be the last"),
        (_two_pivots, "debit and credit are pivots of one"),
        (_pivot_beside_others, r"inside parallel\(\)"),
        (_without_undo, "comes before the pivot and has no undo"),
    ],
)
def test_what_cannot_work_is_refused(function: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        _ = define(function).plan


def test_outside_a_saga_there_is_no_group() -> None:
    with pytest.raises(DefinitionError, match=r"atomic\(\)"), atomic():
        pass


def test_a_pivot_inside_lets_its_group_and_what_follows_do_without_undos() -> None:
    def transfer(amount: int) -> None:
        with atomic():
            post(amount)
            debit.pivot(amount)
        post(amount)

    assert [node for node in compiled(transfer).body.nodes if isinstance(node, Call)]


def test_a_group_at_the_end_is_the_pivot_where_a_branch_has_no_undo() -> None:
    def transfer(amount: int) -> None:
        with atomic():
            debit(amount)
            post(amount)

    assert [call.pivot for call in group_of(compiled(transfer)).branches] == [False, True]


def _transfer(amount: int) -> None:
    with atomic(timeout=20):
        debit(amount)
        hold(amount)


def test_a_group_is_drawn_in_a_frame() -> None:
    plan = compiled(_transfer)
    drawn = mermaid(plan)
    assert 'subgraph atomic1["atomic: all or nothing, within 20 s"]' in drawn
    assert "try, then way or back" in drawn
    assert "atomic: all or nothing, within 20 s" in svg(plan)
    assert 'class="atomic"' in svg(plan)


def test_a_change_of_a_group_is_told() -> None:
    def quicker(amount: int) -> None:
        with atomic(timeout=10):
            debit(amount)
            hold(amount)

    old, new = define(_transfer, name="t").plan, define(quicker, name="t").plan
    assert "step 'atomic', timeout: 20 s is now 10 s" in differences(old, new)

    def apart(amount: int) -> None:
        debit(amount)
        hold(amount)

    told = differences(old, define(apart, name="t").plan)
    assert "step 'atomic' is gone" in told
    assert "step 'debit', in its group: a prepared transaction is now nothing" in told


def test_lint_sees_branches_that_change_the_same() -> None:
    facts = {name: Facts(touches=("account",)) for name in ("shop.debit", "shop.hold")}
    assert "shared-resource" in {one.rule for one in lint(define(_transfer), facts)}


def test_lint_takes_a_group_as_one_step_up_to_its_pivot() -> None:
    def paid(amount: int) -> None:
        with atomic():
            debit.pivot(amount)
            hold(amount)
        post(amount)

    facts = {name: Facts(may_refuse=True) for name in ("shop.debit", "shop.hold", "shop.post")}
    found = [one for one in lint(define(paid), facts) if one.rule == "refusal-past-pivot"]
    assert [one.step for one in found] == ["post"]
