"""How previews look: what an operation would run, undo and leave, before it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli.looks import LOOKS
from orchestrator.kernel.preview import Action, Preview, Second
from orchestrator.views.gathered import Gathered
from orchestrator.views.spans import span_text

if TYPE_CHECKING:
    from orchestrator.console.doubts import Ruled

_KINDS = {
    "do": "",
    "undo": "",
    "callback": "callback ",
    "prepare": "vote of ",
    "commit": "commit of ",
    "abort": "abort of ",
}


def preview_page(seen: Preview) -> Iterator[RenderableType]:
    """One run's preview."""
    yield from _actions("runs", seen.runs)
    yield from _actions("settles", seen.settles)
    yield from _actions("undoes", seen.undoes)
    if seen.awaits:
        yield _line("waits for", ", ".join(seen.awaits))
    for change in seen.changes:
        yield _line("changes", f"{change.step} from {change.before} to {change.after}")
    for left in seen.left:
        why = f": {left.why}" if left.why else ""
        yield _line("leaves", f"{left.step} ({left.status}{why})")
    if seen.ahead:
        yield _line("then", f"{', '.join(seen.ahead)}, as the plan and their results say")
    if seen.undoes or seen.settles or seen.status != "running":
        yield _line("ends", f"{seen.ends}, if each of these succeeds", LOOKS[seen.ends].style)
    for warning in seen.warnings:
        yield _line("warning", warning, "bold yellow")
    if seen.second is not None:
        yield _line("second", second_text(seen.second), "yellow")


def second_text(second: Second) -> str:
    """That it takes two people, and how the other approves it."""
    who = f"one of {', '.join(second.approvers)}" if second.approvers else "another person"
    return (
        f"it takes two people: this only asks for it, and within {span_text(second.expires_s)} {who}"
        " has to approve it, see `saga approvals list`"
    )


def gathered_page(seen: Gathered) -> Iterator[RenderableType]:
    """The previews of many runs, added up."""
    for label, counts in (("runs", seen.runs), ("settles", seen.settles), ("undoes", seen.undoes)):
        if counts:
            yield _line(label, _counts(counts))
    if seen.ends:
        yield _line("ends", _counts(seen.ends))
    for why, number in seen.refused.items():
        yield _line("refused", f"{number} x {why}", "red")
    for warning, number in seen.warnings.items():
        yield _line("warning", f"{number} x {warning}", "bold yellow")
    if seen.whole is not None:
        yield _line("second", second_text(seen.whole), "yellow")
    elif seen.second:
        yield _line("second", f"{seen.second} of them each wait for a second person", "yellow")


def ruled_page(seen: Ruled) -> Iterator[RenderableType]:
    """What is known of a branch that people have to decide."""
    one = seen.branch
    verb = "commits" if seen.kind == "commit" else "aborts"
    yield _line(verb, f"{one.step} in {one.service}, {one.gid}")
    for effect in seen.effects:
        yield _line("leaves", f"{effect} (has taken effect)")
    for other in seen.others:
        yield _line("leaves", f"{other.step} in {other.service} (prepared too, {other.decision})")
    for warning in seen.warnings:
        yield _line("warning", warning, "bold yellow")
    if one.asked is not None:
        yield _line("second", f"{one.asked.actor} wants to {one.asked.kind} it", "yellow")
    elif seen.second is not None:
        yield _line("second", second_text(seen.second), "yellow")


def _actions(label: str, actions: Iterable[Action]) -> Iterator[Text]:
    for action in actions:
        when = " at once" if action.at_once else " then"
        if action.only_if:
            when += f", if the answer of {action.only_if} asks for it"
        yield _line(
            label,
            f"{_KINDS[action.kind]}{action.step} ({action.participant}, attempt {action.attempt}){when}",
        )


def _line(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{label:<10}", "bold"), (text, style))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())
