"""What the explorer leaves out loses nothing: small plans drawn by chance, seen whole and as ``verify`` sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from orchestrator.testing import explorer, steps
from orchestrator.testing.explorer import Explored, explore
from orchestrator.testing.replies import is_fenced
from orchestrator.testing.rules import check_rest
from orchestrator.testing.world import Space, World, key
from tests.unit.testing.small_plans import alike, beside
from tests.unit.testing.test_guards import GUARDS

Groups = tuple[tuple[tuple[str, ...], ...], ...]
Mark = Callable[[Space, World], Any]
PLANS = 60
_FENCED = is_fenced


class Seen(NamedTuple):
    """What an exploration came to."""

    violated: bool
    faults: int
    rests: frozenset[Any]
    """Every world in which nothing goes on by itself; as far as it came, if it was stopped by a violation."""
    worlds: int


def _seen(space: Space, monkeypatch: pytest.MonkeyPatch, mark: Mark = key) -> Seen:
    """Explore a space with up to one fault; worlds with the same mark count as one."""
    rests: set[Any] = set()

    def collect(there: Space, world: World) -> None:
        rests.add(mark(there, world))
        check_rest(there, world)

    monkeypatch.setattr(explorer, "check_rest", collect)
    into = Explored()
    explore(space, {}, faults=1, worlds_max=1_000_000, into=into)
    cost = -1 if into.found is None else into.found.faults
    return Seen(into.found is not None, cost, frozenset(rests), into.worlds)


def _same(less: Seen, whole: Seen, seed: int) -> None:
    assert (less.violated, less.faults) == (whole.violated, whole.faults), f"seed {seed}"
    if not whole.violated:
        assert less.rests == whole.rests, f"seed {seed}"


def test_one_order_of_steps_beside_each_other_leads_to_every_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved = violations = 0
    for seed in range(PLANS):
        space, whole = beside(seed), beside(seed, one_order=False)
        less, more = _seen(space, monkeypatch), _seen(whole, monkeypatch)
        _same(less, more, seed)
        saved += more.worlds - less.worlds
        violations += more.violated
    assert saved > 500, "it is worth its while"
    assert 10 < violations < PLANS - 10, "plans of both kinds"


def test_dropping_copies_that_the_barrier_rejects_leads_to_every_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen whole, a rejected copy stays on its way until it arrives: that can be after the last move."""
    saved = 0
    for seed in range(PLANS // 2):
        less = _seen(beside(seed), monkeypatch, _without_rejected)
        with monkeypatch.context() as kept:
            kept.setattr(steps, "is_fenced", lambda *_: False)
            more = _seen(beside(seed, one_order=False), kept, _without_rejected)
        _same(less, more, seed)
        saved += more.worlds - less.worlds
    assert saved > 500


def _without_rejected(space: Space, world: World) -> Any:
    """The mark of a world at rest, less the copies that could only be rejected."""
    rejected = {copy for copy in world.copies if copy.old and _FENCED(space, world, copy)}
    return key(space, replace(world, copies=world.copies - rejected))


def test_folding_branches_that_are_alike_leads_to_every_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved = 0
    for seed in range(PLANS // 2):
        space, whole = alike(seed), alike(seed)
        groups, whole.symmetric = whole.symmetric, ()
        assert groups

        def folded(_: Space, world: World, groups: Groups = groups) -> Any:
            return _folded(world, groups)

        less, more = _seen(space, monkeypatch, folded), _seen(whole, monkeypatch, folded)
        _same(less, more, seed)
        saved += more.worlds - less.worlds
    assert saved > 500


def _folded(world: World, groups: Groups) -> Any:
    """A world at rest without the names of its branches, told in the test's own words."""
    steps: dict[str, Any] = {}
    for name, step in world.run.steps.items():
        copies = sorted((c.kind, c.attempt, c.old) for c in world.copies if c.step == name)
        steps[name] = (step.status, step.doubt, step.refused, world.records.get(name), copies)
    branches = [
        sorted(repr([steps.pop(name, None) for name in branch]) for branch in group)
        for group in groups
    ]
    return (
        world.run.phase,
        world.run.pivoted,
        world.lasting,
        repr(branches),
        repr(sorted(steps.items())),
    )


@pytest.mark.parametrize("remove", GUARDS, ids=lambda guard: guard.__name__.strip("_"))
def test_a_kernel_with_a_defect_is_found_out_in_one_order_as_in_all(
    remove: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch)
    for seed in range(8):
        space, whole = beside(seed), beside(seed, one_order=False)
        less, more = _seen(space, monkeypatch), _seen(whole, monkeypatch)
        assert (less.violated, less.faults) == (more.violated, more.faults), f"seed {seed}"
