"""``verify`` a saga, ``replay`` a counterexample: what the command line and tests call."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from orchestrator.definition.facts import Facts
from orchestrator.definition.plan import Call, Plan
from orchestrator.definition.saga import Saga
from orchestrator.errors import InvalidInputError
from orchestrator.kernel.program import Program
from orchestrator.participant.source_facts import facts_about
from orchestrator.testing.abstract import SCENARIOS_MAX, abstract
from orchestrator.testing.explorer import Explored, Found, Progress, explore
from orchestrator.testing.moves import Move, parse
from orchestrator.testing.retrace import Retraced, retrace
from orchestrator.testing.rules import BUILT_IN, Violated
from orchestrator.testing.timeline import Line, narrated
from orchestrator.testing.walks import walk
from orchestrator.testing.world import Space

FAULTS = 2
WORLDS_MAX = 500_000


class Counterexample(msgspec.Struct, frozen=True):
    """How an invariant is broken, with as few faults and then as few moves as it takes."""

    invariant: str
    what: str
    faults: int
    trace: str
    """For ``saga verify --trace`` and ``replay``."""
    timeline: tuple[Line, ...]
    test: str
    """A test that reproduces it."""


class Report(msgspec.Struct, frozen=True):
    """What was explored, and what came of it."""

    saga: str
    version: int
    plan: str
    faults: int
    worlds: int
    transitions: int
    depth: int
    scenarios: int
    seconds: float
    endings: dict[str, int]
    invariants: tuple[str, ...]
    cut: tuple[str, ...]
    """Every bound that left something out; empty when all there is was seen."""
    alike: tuple[str, ...]
    """Branches that count as one another, as only their names tell them apart."""
    walks: int
    """How many random walks were taken instead of exploring; 0 for none."""
    seed: int | None
    """Of the walks."""
    assumptions: tuple[str, ...]
    counterexample: Counterexample | None = None

    @property
    def ok(self) -> bool:
        """Whether no invariant was violated in what was seen."""
        return self.counterexample is None


class InvariantViolated(AssertionError):  # noqa: N818 - what was shown
    """Raised by ``verify(..., check=True)`` and ``replay``; its text is the timeline."""


def verify(
    saga: Saga[..., Any],
    *,
    faults: int = FAULTS,
    facts: Mapping[str, Facts] | None = None,
    careless: bool = False,
    worlds_max: int = WORLDS_MAX,
    walks: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    check: bool = False,
) -> Report:
    """Explore every world of a saga with up to ``faults`` faults.

    ``facts``, by ``service.action``, say what the participants' source shows; where it is None, the source of those
    that the saga calls is read. ``careless``: what is called without a barrier does not turn down a cancelled key.
    ``worlds_max`` bounds the worlds; the report says when it did. ``walks``: so many random walks instead, those of
    ``seed``, which prove nothing where they find nothing. ``check`` raises ``InvariantViolated``.
    """
    began = time.perf_counter()
    shape = abstract(saga.plan)
    space = _space(saga, shape.plan, facts, careless=careless)
    seen = Explored()
    scenarios = 0
    with _uncollected():
        if walks:
            walk(space, shape, faults=faults, walks=walks, seed=seed, into=seen, progress=progress)
        for given in shape.scenarios() if not walks else ():
            scenarios += 1
            explore(
                space, given, faults=faults, worlds_max=worlds_max, into=seen, progress=progress
            )
            if seen.found is not None or seen.cut:
                break
    report = Report(
        saga=saga.name,
        version=saga.version,
        plan=saga.plan_hash,
        faults=faults,
        worlds=seen.worlds,
        transitions=seen.transitions,
        depth=seen.depth,
        scenarios=scenarios,
        seconds=round(time.perf_counter() - began, 3),
        endings=dict(seen.endings),
        invariants=(*BUILT_IN, *(getattr(i, "__name__", repr(i)) for i in saga.invariants)),
        cut=_cut(seen, worlds_max, 0 if walks else shape.combinations),
        alike=() if walks else tuple(_alike(space)),
        walks=walks,
        seed=seed if walks else None,
        assumptions=_assumptions(saga.plan, space, careless=careless),
        counterexample=None
        if seen.found is None
        else _counterexample(saga, space, seen.found, careless=careless),
    )
    if check and report.counterexample is not None:
        raise InvariantViolated(told(report.counterexample))
    return report


def replay(
    saga: Saga[..., Any],
    trace: str,
    *,
    facts: Mapping[str, Facts] | None = None,
    careless: bool = False,
) -> tuple[Line, ...]:
    """Follow a trace, and the run to its end; the timeline if every invariant holds.

    Where the saga has changed since, what isn't possible yet is waited for, and what never is is left out, said at the
    end. Raises ``InvariantViolated``; ``InvalidInputError`` when the trace is about steps that are gone.
    """
    shape = abstract(saga.plan)
    space = _space(saga, shape.plan, facts, careless=careless)
    given, moves = _read(trace, {name: values[0] for name, values in shape.choices.items()})
    done = Retraced()
    try:
        retrace(space, given, moves, done)
    except Violated as violated:
        found = Found(violated.invariant, violated.what, given, tuple(done.moves), 0)
        raise InvariantViolated(
            told(_counterexample(saga, space, found, careless=careless))
        ) from violated
    if moves and len(done.left_out) == len(moves):
        raise InvalidInputError("nothing of the trace is possible in this saga any more")
    lines = narrated(space, given, tuple(done.moves))
    left = (f"left out, as it never became possible: {move}" for move in done.left_out)
    return (*lines, *(Line(lines[-1].at_s, text, fault=False, events=()) for text in left))


def told(shown: Counterexample) -> str:
    """A counterexample as text."""
    return "\n".join(
        [f"violated: {shown.invariant}", f"  {shown.what}", "", *shown_lines(shown.timeline)]
    )


def shown_lines(timeline: tuple[Line, ...]) -> list[str]:
    """A timeline as lines of text; ``!`` marks a fault."""
    lines = []
    for line in timeline:
        lines.append(f"{line.at_s:>9.1f} s {'!' if line.fault else ' '} {line.text}")
        lines += [f"{'':>13} -> {event}" for event in line.events]
    return lines


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for cycles, of which there are none among worlds: a third of the time where they are many."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _space(
    saga: Saga[..., Any], plan: Plan, facts: Mapping[str, Facts] | None, *, careless: bool
) -> Space:
    known = facts_about(saga) if facts is None else facts
    return Space(Program(plan, saga.plan_hash), known, tuple(saga.invariants), careless=careless)


def _read(trace: str, given: dict[str, Any]) -> tuple[dict[str, Any], list[Move]]:
    """The choices of data at the start of a trace, and its moves."""
    parts = [part.strip() for part in trace.split(";")]
    chosen = dict(given)
    for part in parts:
        if part.startswith("given "):
            name, _, value = part.removeprefix("given ").partition("=")
            if name not in given:
                raise InvalidInputError(f"the trace can't be followed: the saga has no {name!r}")
            chosen[name] = json.loads(value)
    return chosen, parse(";".join(part for part in parts if not part.startswith("given ")))


def _trace(given: dict[str, Any], moves: tuple[Move, ...]) -> str:
    chosen = [f"given {name}={json.dumps(value)}" for name, value in given.items()]
    return "; ".join([*chosen, *map(str, moves)])


def _counterexample(
    saga: Saga[..., Any], space: Space, found: Found, *, careless: bool
) -> Counterexample:
    trace = _trace(found.given, found.moves)
    timeline = narrated(space, found.given, found.moves)
    faults = sum(line.fault for line in timeline)
    return Counterexample(
        invariant=found.invariant,
        what=found.what,
        faults=faults,
        trace=trace,
        timeline=timeline,
        test=_test(saga, found, trace, careless=careless),
    )


def _test(saga: Saga[..., Any], found: Found, trace: str, *, careless: bool) -> str:
    name = saga.function.__name__
    steps = ";\n".join(f"        {part}" for part in trace.split("; "))
    option = ", careless=True" if careless else ""
    return (
        "from orchestrator.testing import replay\n"
        f"from {saga.function.__module__} import {name}\n\n\n"
        f"def test_{name}_{_slug(found.invariant)}() -> None:\n"
        f'    """Violated: {found.invariant}."""\n'
        f'    replay(\n        {name},\n        """\n{steps}\n        """{option},\n    )\n'
    )


def _slug(text: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return "_".join(words[:6])


def _alike(space: Space) -> Iterator[str]:
    for group in space.symmetric:
        yield " = ".join(", ".join(branch) for branch in group)


def _cut(seen: Explored, worlds_max: int, combinations: int) -> tuple[str, ...]:
    cut = []
    if seen.cut:
        cut.append(f"stopped at {worlds_max:,} worlds; more with --worlds")
    if combinations > SCENARIOS_MAX:
        cut.append(
            f"{SCENARIOS_MAX} of {combinations} combinations of conditions and items were tried"
        )
    return tuple(cut)


def _assumptions(plan: Plan, space: Space, *, careless: bool) -> tuple[str, ...]:
    calls = [step for step, _ in plan.steps() if isinstance(step, Call)]
    made = ["conditions go either way and fan-outs have 0, 1 or 2 items; other data is left out"]
    outside = sorted({c.name for c in calls if not c.barrier and not c.read_only})
    if outside and not careless:
        made.append(
            f"{', '.join(outside)}: no barrier; the other side does a thing once for each idempotency key, and turns "
            "down one that was cancelled (--careless: it doesn't)"
        )
    after = _after_pivot(calls)
    never = [c.name for c in after if space.facts[c.name].may_refuse is False]
    unknown = [c.name for c in after if space.facts[c.name].may_refuse is None]
    if never:
        made.append(f"{', '.join(never)}: past the pivot, and no Refused is raised in the source")
    if unknown:
        made.append(
            f"{', '.join(unknown)}: past the pivot, source not at hand; a refusal there may leave the run stuck"
        )
    return tuple(made)


def _after_pivot(calls: list[Call]) -> list[Call]:
    for position, call in enumerate(calls):
        if call.pivot:
            return calls[position + 1 :]
    return []
