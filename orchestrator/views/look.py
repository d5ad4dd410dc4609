"""All there is to see of one run at one time: for ``saga show``, ``saga events --at`` and the console."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.definition.plan import Plan
from orchestrator.journal.port import Recorded
from orchestrator.kernel.summary import RunSummary, summarize
from orchestrator.views.advice import Advice, advice
from orchestrator.views.replay import state_at
from orchestrator.views.steps import NodeView, steps_of, tree
from orchestrator.views.trouble import Need, need


class RunLook(msgspec.Struct, frozen=True):
    """A run with its plan, and what an operator can do for it."""

    run: RunSummary
    input: dict[str, Any]
    actor: str
    """Who launched it."""
    plan: NodeView
    advice: tuple[Advice, ...]
    need: Need | None = None
    """What the run needs a person for; None if it doesn't."""


def look(plan: Plan, row: RunSummary, records: list[Recorded], now: float) -> RunLook:
    """The run as ``records`` make it; without any it is as its row says, accepted and not begun.

    A row that says more than the events (a defect that stopped the run) is believed, if it is as new.
    """
    state = state_at(plan, records)
    node = tree(plan, records, now)
    if state is None:
        return RunLook(row, {}, "", node, ())
    made = summarize(state, row.shard, records[-1].at)
    stopped = row.status == "stuck" and made.status != "stuck" and row.updated_at <= now
    if stopped and row.updated_at >= made.updated_at:
        made = row
    can = advice(state, now)
    needed = need(state, records, steps_of(node), can, now)
    return RunLook(made, state.input, records[0].actor, node, tuple(can), needed)
