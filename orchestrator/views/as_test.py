"""A run as a test: the same input and the same faults, for the fixture ``sagas`` of the pytest plugin.

Written from the run's events as somebody sees them, so what they don't see isn't in it either. Participants are played
by stand-ins that return what the real ones did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pprint import pformat
from typing import Any

from orchestrator.definition.plan import Call, Plan
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.timeline import Entry

_HIDDEN = ("(redacted)", "(withheld)")
_ENDS = {"completed": "completed", "compensated": "compensated", "stuck": "stuck"}


def as_test(
    plan: Plan, run: RunSummary, entries: Sequence[Entry], modules: Mapping[str, str]
) -> str:
    """Python source of a test. ``modules`` say where names can be imported from: the saga's, and its participants' by
    ``service.action``.
    """
    calls = {call.name: call for call, _ in plan.steps() if isinstance(call, Call)}
    rules = list(_rules(entries, calls))
    used = {f"{calls[name].service}.{calls[name].participant}" for name, _, _ in rules}
    lines = [*_imports(plan.saga, sorted(used), modules), "", ""]
    lines += [f"def test_{_slug(run)}(sagas: Sagas) -> None:"]
    body = [f'"""Run {run.run_id} of {plan.saga}, as it happened."""', *_notes(entries)]
    for name, key, said in rules:
        action = calls[name].participant
        words = "when_undoing" if said.startswith("undo ") else "when"
        body.append(f"sagas.{words}({action}, step={key!r}){said.removeprefix('undo ')}")
    given = entries[0].event.get("input") or {} if entries else {}
    arguments = [plan.saga, *map(_literal, given.values())]
    body.append(f"run = sagas.run({', '.join(arguments)})")
    body += [line for entry in entries for line in _operated(entry)]
    body += _asserted(run)
    text = "\n".join(lines + ["    " + line.replace("\n", "\n    ") for line in body]) + "\n"
    if any(word in text for word in _HIDDEN):
        text = "# Some values aren't shown to you: put in others.\n" + text
    return text


def _imports(saga: str, used: Iterable[str], modules: Mapping[str, str]) -> Iterator[str]:
    yield "from orchestrator.testing import Sagas"
    wanted: dict[str, set[str]] = {}
    for name in (saga, *used):
        wanted.setdefault(modules.get(name, ""), set()).add(name.rpartition(".")[2])
    for module, names in sorted(wanted.items()):
        listed = ", ".join(sorted(names))
        yield f"from {module} import {listed}" if module else f"# import {listed}"


def _rules(entries: Iterable[Entry], calls: Mapping[str, Call]) -> Iterator[tuple[str, str, str]]:
    """The name, the key and what is said of every step that did anything, in the order they began to."""
    told: dict[tuple[str, bool], list[tuple[str, Any]]] = {}
    for entry in entries:
        name = entry.step.partition("[")[0]
        event = entry.event
        kind = event.get("kind", "do")
        if name not in calls or kind not in {"do", "prepare", "undo"}:
            continue
        attempts = told.setdefault((entry.step, kind == "undo"), [])
        match entry.type:
            case "StepSucceeded" | "BranchVoted":
                attempts.append(("returns", event.get("result")))
            case "StepRefused":
                attempts.append(("refuses", event["failure"]["message"]))
            case "StepFailed":
                attempts.append(("fails", event["failure"]["message"]))
            case "StepInDoubt":
                attempts.append(("is lost", None))
            case _:
                pass
    for (key, undo), attempts in told.items():
        said = _said(attempts)
        if said:
            yield key.partition("[")[0], key, f"undo {said}" if undo else said


def _said(attempts: Sequence[tuple[str, Any]]) -> str:
    """One chain: ``.is_lost(times=1).fails("no line", times=2).then.returns("paid")``."""
    lost = sum(what == "is lost" for what, _ in attempts)
    chain: list[str] = []
    plain = [attempt for attempt in attempts if attempt[0] != "is lost"]
    for at, (what, said) in enumerate(plain):
        if at and plain[at - 1] == (what, said):
            continue
        times = next(
            (n for n, one in enumerate(plain[at:]) if one != (what, said)), len(plain) - at
        )
        if what == "returns":
            chain.append(f"returns({_literal(said)})")
            break
        chain.append(f"{what}({_literal(said)}, times={times})")
    text = "." + ".then.".join(chain) if chain else ""
    return f"{text}.is_lost(times={lost})" if lost else text


def _operated(entry: Entry) -> Iterator[str]:
    """What somebody did to the run."""
    event = entry.event
    match entry.type:
        case "SignalReceived":
            yield f"run.signal({event['name']!r}, {_literal(event.get('data'))})"
        case "StepRetried" if event.get("args") is None:
            yield f"run.retry({entry.step!r})"
        case "StepRetried":
            yield f"run.retry({entry.step!r}, args={_literal(event['args'])})"
        case "StepSkipped":
            yield f"run.skip({entry.step!r}, {_literal(event.get('result'))})"
        case "StepResolved" if event.get("undone"):
            yield f"run.resolve({entry.step!r}, undone=True)"
        case "StepResolved":
            yield f"run.resolve({entry.step!r}, {_literal(event.get('result'))})"
        case "CompensationStarted" if entry.actor and not entry.step:
            yield f"run.cancel({event.get('reason', '')!r})"
        case _:
            pass


def _notes(entries: Iterable[Entry]) -> Iterator[str]:
    """What the stage can't play, so that the test doesn't claim it."""
    for entry in entries:
        kind = entry.event.get("kind")
        if entry.type == "HeuristicFound" or (
            kind in {"commit", "abort"} and entry.type in {"StepFailed", "StepInDoubt"}
        ):
            yield f"# not played: {' '.join(entry.text.split())}"
        if entry.type == "StepParked" and "no worker of service" in entry.text:
            yield f"# not played: {' '.join(entry.text.split())}"


def _asserted(run: RunSummary) -> Iterator[str]:
    if run.status not in _ENDS:
        yield f"assert run.status == {run.status!r}"
        return
    yield f"assert run.{_ENDS[run.status]}"
    if run.parked:
        yield f"assert run.parked == {list(run.parked)!r}"


def _literal(value: Any) -> str:
    return pformat(value, width=88, sort_dicts=False)


def _slug(run: RunSummary) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"{run.saga} {run.key or run.run_id[:8]}".lower()).strip("_")
