"""What is kept from viewers unless the settings say otherwise: everything that came from a user's own data.

What the types declare redacted is hidden before this, from everybody (``views.redaction``). What stays here is what one
needs to see what is wrong: names, times, statuses, keys, tags, and the messages of errors.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.journal.approvals import Approval
from orchestrator.journal.audit import Doing
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.look import RunLook
from orchestrator.views.steps import NodeView, StepView
from orchestrator.views.timeline import Entry
from orchestrator.views.trouble import Need, Trouble

WITHHELD = "(withheld)"
_VALUES = frozenset({"input", "args", "result", "data", "traceback"})


def run_without_values(run: RunSummary) -> RunSummary:
    """A row without its result."""
    return replace(run, result=_withheld(run.result))


def look_without_values(look: RunLook) -> RunLook:
    """A run without input, arguments and results; their names stay."""
    return replace(
        look,
        run=run_without_values(look.run),
        input=dict.fromkeys(look.input, WITHHELD),
        plan=_node(look.plan),
        need=None if look.need is None else _need(look.need),
    )


def entry_without_values(entry: Entry) -> Entry:
    """An event without what it carried."""
    return replace(entry, event=_without(entry.event))


def _need(need: Need) -> Need:
    """Without tracebacks, which may quote values."""
    return replace(need, incidents=tuple(map(_trouble, need.incidents)))


def _trouble(trouble: Trouble) -> Trouble:
    errors = (
        replace(error, traceback=WITHHELD if error.traceback else "") for error in trouble.errors
    )
    return replace(trouble, errors=tuple(errors))


def approval_without_values(approval: Approval) -> Approval:
    """A request for a second person without arguments and result."""
    return replace(approval, given=_without(approval.given))


def doing_without_values(doing: Doing) -> Doing:
    """An operation without what it was given."""
    return replace(doing, event=_without(doing.event))


def _node(node: NodeView) -> NodeView:
    step = None if node.step is None else _step(node.step)
    return replace(node, step=step, nodes=tuple(map(_node, node.nodes)))


def _step(step: StepView) -> StepView:
    args = dict.fromkeys(step.args, WITHHELD)
    return replace(step, args=args, result=_withheld(step.result))


def _without(event: dict[str, Any]) -> dict[str, Any]:
    return {name: _part(name, value) for name, value in event.items()}


def _part(name: str, value: Any) -> Any:
    if name in _VALUES:
        return _withheld(value)
    return _without(value) if isinstance(value, dict) else value


def _withheld(value: Any) -> Any:
    return None if value is None else WITHHELD
