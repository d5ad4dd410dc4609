"""What is kept from everybody who is shown a run: the values that its types declare ``Redacted``.

Where a value stands, it is hidden by its place; where it may be echoed (the text of an error, a reason, a traceback),
by itself. Everything that shows a run asks here, whatever it shows it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from orchestrator.definition.plan import Path, Plan
from orchestrator.definition.secrecy import REDACTED, Secrecy, hidden, texts_in
from orchestrator.errors import IllegalEventError, RunNotFoundError
from orchestrator.journal.approvals import Approval, Judged
from orchestrator.journal.audit import AuditPage, Doing
from orchestrator.journal.bulk import BulkItem
from orchestrator.journal.incident import Cluster, ClusterPage
from orchestrator.journal.port import Recorded
from orchestrator.kernel.preview import Action, Preview
from orchestrator.kernel.program import RESULT
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.look import RunLook
from orchestrator.views.replay import state_at
from orchestrator.views.steps import NodeView, StepView
from orchestrator.views.timeline import Entry

T = TypeVar("T")

SHORTEST = 4
"""A redacted value with fewer characters isn't looked for in texts: it would be found everywhere."""
_NONE: frozenset[Path] = frozenset()


class Curtain:
    """What hides the values of one run."""

    def __init__(self, plan: Plan, records: Sequence[Recorded]) -> None:
        self._secrecy = Secrecy(plan)
        found = set(self._values(plan, records)) if self._secrecy else set[str]()
        long_enough = (text for text in found if len(text) >= SHORTEST)
        self._texts = sorted(long_enough, key=lambda text: (-len(text), text))

    def look(self, seen: RunLook) -> RunLook:
        """A run without what is redacted."""
        if not self._secrecy:
            return seen
        made = replace(
            seen,
            run=self.row(seen.run),
            input=hidden(seen.input, self._secrecy.input),
            plan=self._node(seen.plan),
        )
        return self._scrubbed(made)

    def row(self, run: RunSummary) -> RunSummary:
        """A row without what is redacted."""
        if not self._secrecy:
            return run
        result = hidden(run.result, self._secrecy.result)
        incidents = self._scrubbed(run.incidents)
        return replace(run, result=result, reason=self.text(run.reason), incidents=incidents)

    def cluster(self, cluster: Cluster) -> Cluster:
        """A cluster, which speaks in the words of its newest incident, without what is redacted."""
        return self._scrubbed(cluster)

    def entry(self, entry: Entry) -> Entry:
        """An event without what is redacted."""
        if not self._secrecy:
            return entry
        return self._scrubbed(replace(entry, event=self._event(entry.type, entry.event)))

    def doing(self, doing: Doing) -> Doing:
        """An operation without what is redacted."""
        if not self._secrecy:
            return doing
        event = self._event(doing.event.get("type", ""), doing.event)
        return self._scrubbed(replace(doing, event=event))

    def approval(self, one: Approval) -> Approval:
        """A request for a second person without what is redacted."""
        if not self._secrecy:
            return one
        event = self._event("", {"step": one.step, **one.given})
        return self._scrubbed(replace(one, given={name: event[name] for name in one.given}))

    def preview(self, seen: Preview) -> Preview:
        """A preview without what is redacted."""
        if not self._secrecy:
            return seen
        made = replace(
            seen,
            runs=tuple(map(self._action, seen.runs)),
            settles=tuple(map(self._action, seen.settles)),
            undoes=tuple(map(self._action, seen.undoes)),
        )
        return self._scrubbed(made)

    def text(self, text: str) -> str:
        """A text without the values that it echoes."""
        for value in self._texts:
            text = text.replace(value, REDACTED)
        return text

    def _values(self, plan: Plan, records: Sequence[Recorded]) -> Iterator[str]:
        state = state_at(plan, records)
        if state is None:
            return
        for key, step in state.steps.items():
            yield from texts_in(step.args, self._args(key))
            yield from texts_in(step.result, self._results(key))
        for record in records:
            if record.event is not None:
                name, event = record.type, msgspec.to_builtins(record.event)
                for part, paths in self._places(name, event):
                    yield from texts_in(event.get(part), paths)

    def _args(self, step: str) -> frozenset[Path]:
        return self._secrecy.args.get(_name(step), _NONE)

    def _results(self, step: str) -> frozenset[Path]:
        return self._secrecy.results.get(_name(step), _NONE)

    def _places(self, type_: str, event: dict[str, Any]) -> Iterator[tuple[str, frozenset[Path]]]:
        step = event.get("step") or ""
        yield "input", self._secrecy.input
        yield "args", self._args(step)
        ends = type_ == "RunCompleted" or step == RESULT
        yield "result", self._secrecy.result if ends else self._results(step)
        yield "data", self._secrecy.signals.get(event.get("name") or "", _NONE)

    def _event(self, type_: str, event: dict[str, Any]) -> dict[str, Any]:
        made = dict(event)
        for part, paths in self._places(type_, event):
            if part in made:
                made[part] = hidden(made[part], paths)
        return made

    def _node(self, node: NodeView) -> NodeView:
        step = None if node.step is None else self._step(node.step)
        return replace(node, step=step, nodes=tuple(map(self._node, node.nodes)))

    def _step(self, step: StepView) -> StepView:
        args = hidden(step.args, self._args(step.step))
        return replace(step, args=args, result=hidden(step.result, self._results(step.step)))

    def _action(self, action: Action) -> Action:
        args = hidden(action.args, self._args(action.step))
        return replace(action, args=args, result=hidden(action.result, self._results(action.step)))

    def _scrubbed(self, thing: T) -> T:
        """``thing`` with every text in it cleared of the values that it echoes."""
        return cast(T, self._cleared(thing)) if self._texts else thing

    def _cleared(self, thing: Any) -> Any:
        match thing:
            case str():
                return self.text(thing)
            case msgspec.Struct():
                parts = {name: getattr(thing, name) for name in thing.__struct_fields__}
                made = {name: self._cleared(part) for name, part in parts.items()}
                return replace(thing, **{n: p for n, p in made.items() if p is not parts[n]})
            case dict():
                return {key: self._cleared(part) for key, part in thing.items()}
            case list():
                return [self._cleared(part) for part in thing]
            case tuple():
                return tuple(self._cleared(part) for part in thing)
            case _:
                return thing


class Kept(Protocol):
    """Where runs are kept: a journal or an archive."""

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan."""
        ...

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        ...

    def find(self, id_or_prefix: str) -> RunSummary:
        """One run's row."""
        ...


class Curtains:
    """The curtain of any run of a journal. Plans that redact nothing cost nothing."""

    def __init__(self, journal: Kept) -> None:
        self._journal = journal
        self._redact: dict[str, bool] = {}

    def of(self, run: RunSummary) -> Curtain | None:
        """A run's curtain; None if it has nothing to hide."""
        if run.plan not in self._redact:
            self._redact[run.plan] = bool(Secrecy(self._journal.plan(run.plan)))
        if not self._redact[run.plan]:
            return None
        return Curtain(self._journal.plan(run.plan), self._journal.history(run.run_id))

    def row(self, run: RunSummary) -> RunSummary:
        """A row without what is redacted."""
        if run.result is None and not run.reason:
            return run
        curtain = self.of(run)
        return run if curtain is None else curtain.row(run)

    def rows(self, runs: Iterable[RunSummary]) -> tuple[RunSummary, ...]:
        """Rows without what is redacted."""
        return tuple(map(self.row, runs))

    def clusters(self, page: ClusterPage) -> ClusterPage:
        """Clusters without what is redacted."""
        return replace(page, clusters=tuple(map(self.cluster, page.clusters)))

    def cluster(self, cluster: Cluster) -> Cluster:
        """A cluster without what is redacted."""
        curtain = self.of(self._journal.find(cluster.newest))
        return cluster if curtain is None else curtain.cluster(cluster)

    def look(self, seen: RunLook) -> RunLook:
        """A run without what is redacted."""
        curtain = self.of(seen.run)
        return seen if curtain is None else curtain.look(seen)

    def entries(self, run: RunSummary, entries: Iterable[Entry]) -> list[Entry]:
        """A run's events without what is redacted."""
        curtain = self.of(run)
        return list(entries) if curtain is None else [curtain.entry(entry) for entry in entries]

    def preview(self, run: RunSummary, seen: Preview) -> Preview:
        """A preview without what is redacted."""
        curtain = self.of(run)
        return seen if curtain is None else curtain.preview(seen)

    def approval(self, one: Approval) -> Approval:
        """A request for a second person without what is redacted."""
        curtain = self.of(self._journal.find(one.run_id))
        return one if curtain is None else curtain.approval(one)

    def judged(self, one: Judged) -> Judged:
        """A request with its previews without what is redacted."""
        curtain = self.of(self._journal.find(one.approval.run_id))
        if curtain is None:
            return one
        now = None if one.now is None else curtain.preview(one.now)
        return Judged(curtain.approval(one.approval), curtain.preview(one.then), now)

    def audit(self, page: AuditPage) -> AuditPage:
        """Operations without what is redacted. A run whose log was altered beyond reading shows nothing it says."""
        known: dict[str, Curtain | None] = {}
        return replace(page, entries=tuple(self._doing(one, known) for one in page.entries))

    def _doing(self, doing: Doing, known: dict[str, Curtain | None]) -> Doing:
        if not doing.is_on_run:
            return doing
        if doing.run_id not in known:
            try:
                known[doing.run_id] = self.of(self._journal.find(doing.run_id))
            except IllegalEventError:
                return replace(doing, reason="", refused=doing.refused and REDACTED, event={})
        curtain = known[doing.run_id]
        return doing if curtain is None else curtain.doing(doing)

    def items(self, items: Iterable[BulkItem]) -> tuple[BulkItem, ...]:
        """What came of the runs of a bulk operation, without what is redacted."""
        return tuple(map(self._item, items))

    def _item(self, item: BulkItem) -> BulkItem:
        if not item.why:
            return item
        try:
            run = self._journal.find(item.run_id)
        except RunNotFoundError:  # archived since: what it hides isn't at hand
            return replace(item, why=REDACTED)
        [why] = self.texts(run, [item.why])
        return replace(item, why=why)

    def texts(self, run: RunSummary, texts: Iterable[str]) -> tuple[str, ...]:
        """Texts about a run, without what is redacted."""
        curtain = self.of(run)
        return tuple(texts) if curtain is None else tuple(map(curtain.text, texts))


def _name(step: str) -> str:
    return step.partition("[")[0].partition("#")[0]
