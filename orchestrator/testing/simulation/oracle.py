"""What must hold after every schedule, whatever happened in it.

(a) every accepted launch has a run; (b) each step's net effect is 0 or 1, and just what the run says of itself, so
nothing is won or lost over all participants; (c) every run has ended, or is stuck with a reason; (d) the logs have no
gap and their hash chains hold; (e) the read model is what a replay of the log makes; (f) no participant's database is
left in a transaction, nothing is left prepared, no try is left open, and its barrier says what its books say; (g) the
branches of an atomic group have taken effect together or not at all, and none says that it went against the decision,
as nobody ends branches by hand here; (h) while a saga or a service is held nothing that the hold stops goes out
(``holding`` looks at that as it happens). And nothing received is left unacknowledged, no
message is a defect.

Where the journal was restored from a backup it can't know what it forgot. Then no effect may happen twice all the same,
and only runs that lost events have an excuse (``oblivion``): whatever such a run says wrongly of an effect that a
barrier remembers must be found by ``views.forgotten``, an undo that died between an effect outside and its row can't
be known, and a branch whose record the journal has lost is left to people, so it may stay prepared if they were told.
A group is excused if events of its own were lost.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.definition.plan import Atomic, Call
from orchestrator.errors import IllegalEventError
from orchestrator.kernel.state import ENDED, Phase, RunState, Status
from orchestrator.kernel.two_phase import branches_of, group_of
from orchestrator.kernel.verdict import verdict_of
from orchestrator.testing.simulation.ledger import Effect, Key
from orchestrator.testing.simulation.oblivion import Oblivion
from orchestrator.testing.simulation.world import World
from orchestrator.views.forgotten import Known, forgotten
from orchestrator.views.read_model import differences


def violations(world: World) -> Iterator[str]:
    """One line for each thing that doesn't hold of a world at rest."""
    yield from world.surprises
    defects = world.defects["defects"]
    if defects:
        yield f"(c) the coordinators met {defects} messages they couldn't take"
    faults = [f"(d) {fault}" for fault in world.journal.verify()]
    yield from faults
    if faults:  # there is no log that anything could be compared with
        return
    yield from (f"(e) {difference}" for difference in differences(world.journal))
    known = list(world.shop.known())
    yield from _at_rest(world, known)
    effects = world.shop.effects()
    for effect in effects:
        yield from _once(effect)
    excused = _Excuses(world, known)
    yield from excused.unasked
    for run_id in world.launched:
        try:
            yield from _run(world, run_id, effects, excused)
        except IllegalEventError as error:
            yield f"(d) {run_id[:4]} can't be replayed: {error}"
    for effect in effects:
        key = (effect.run, effect.step)
        kept = effect.run in world.oblivion.forgotten and effect.done > effect.undone
        if kept and not excused.step(key):
            yield f"(b) {effect.run[:4]} {effect.step}: its run is forgotten, and nobody finds its effect"
    left = sum(map(len, world.network.streams.values()))
    if left:
        yield f"(c) {left} answers were never acknowledged"


class _Excuses:
    """Steps of which a run may say something wrong, because the journal lost events of it and that is known."""

    def __init__(self, world: World, known: list[Known]) -> None:
        found = list(forgotten(world.journal, known))
        self._oblivion = world.oblivion
        self._found = {(finding.run, finding.step) for finding in found}
        steps = world.workload.plan.steps()
        self._unvouched = {s.name for s, _ in steps if isinstance(s, Call) and not s.barrier}
        """Steps whose effect and whose barrier's row, if they have one, aren't one transaction."""
        self.unasked = [
            f"(b) {f.run[:4]} {f.step}: seems forgotten: {f.what}"
            for f in found
            if f.run not in world.oblivion.bereft
        ]
        """Findings where nothing was forgotten."""

    def step(self, key: Key) -> bool:
        """Whether what the run says wrongly of this step is found, or leaves no trace that could be."""
        run_id, step = key
        if run_id not in self._oblivion.bereft:
            return False
        callback = step.startswith("@")  # may have told what was then forgotten
        if callback or key in self._found:
            return True
        # Where effect and row aren't one transaction, what was forgotten leaves no sure trace. But an undo that the
        # log, as it is now, has asked for is none of what it forgot.
        return step.partition("[")[0] in self._unvouched and not self._oblivion.is_ordered(key)


def _at_rest(world: World, known: list[Known]) -> Iterator[str]:
    for service in world.shop.unfinished():
        yield f"(f) {service}: a transaction was left open"
    epochs = {lease.shard: lease.epoch for lease in world.journal.leases()}
    told = world.defects["in doubt: nothing presumed"]
    for service, gid in world.shop.prepared():
        older = world.shop.heard_of(service, gid.shard) > epochs[gid.shard]
        state = world.state(gid.run)
        lost = state is None or verdict_of(state, gid.is_of, gid.round) is None
        if told and (older or lost) and gid.run in world.oblivion.bereft:
            continue  # the journal has lost its record: it presumes nothing, and has said so to people
        yield f"(f) {gid.run[:4]} {gid.step}: it is left prepared"
    standing = {(effect.run, effect.step) for effect in known if effect.status == "done"}
    for (run_id, step), net in world.shop.booked().items():
        if bool(net) is not ((run_id, step) in standing):
            yield f"(f) {run_id[:4]} {step}: {net} is booked, and the barrier says otherwise"


def _once(effect: Effect) -> Iterator[str]:
    what = f"(b) {effect.run[:4]} {effect.step}: the effect {effect.key[len(effect.run) :]}"
    if effect.done > 1:
        yield f"{what} happened {effect.done} times"
    if effect.undone > effect.done:
        yield f"{what} was undone {effect.undone} times after {effect.done}"


def _run(world: World, run_id: str, effects: list[Effect], excused: _Excuses) -> Iterator[str]:
    who = run_id[:4]
    row = world.journal.find(run_id)
    state = world.state(run_id)
    if state is None:
        yield f"(a) {who}: its launch was accepted and nothing came of it ({row.status})"
        return
    if row.status == "stuck" and not row.reason:
        yield f"(c) {who}: stuck without a reason"
    if row.status not in {"completed", "compensated", "stuck"}:
        waiting = {k: s.status.value for k, s in state.steps.items() if s.status is not Status.DONE}
        yield f"(c) {who}: {row.status} at rest, {waiting}"
    mine = [effect for effect in effects if effect.run == run_id]
    yield from _groups(who, state, mine, world.oblivion)
    net = _net(mine)
    for step, total in net.items():
        if total not in {0, 1}:
            yield f"(b) {who} {step}: its net effect is {total}"
    wrong = _compensated(net) if state.phase is Phase.COMPENSATED else _completed(state, net)
    for step, what in wrong:
        if not excused.step((run_id, step)):
            yield f"(b) {who} {step}: {what}"


def _net(effects: list[Effect]) -> dict[str, int]:
    """Net effects by step."""
    net: dict[str, int] = {}
    for effect in effects:
        net[effect.step] = net.get(effect.step, 0) + effect.done - effect.undone
    return net


def _groups(who: str, state: RunState, effects: list[Effect], oblivion: Oblivion) -> Iterator[str]:
    """What is amiss with groups of which the journal has lost nothing."""
    run_id = state.run_id
    for effect in effects if state.phase in ENDED else ():
        group = group_of(state, effect.step) if effect.step in state.steps else None
        lost = group is None or oblivion.lost(run_id, effect.step, group)
        if (
            effect.is_try
            and effect.done != effect.undone
            and not (lost and run_id in oblivion.bereft)
        ):
            yield f"(f) {who} {effect.step}: its try is neither confirmed nor cancelled"
    did = {effect.step for effect in effects if effect.done and not effect.is_try}
    for key, step in state.steps.items():
        if not isinstance(state.program.named[step.name], Atomic):
            continue
        members = list(branches_of(state, key))
        if oblivion.lost(run_id, key, *(branch for branch, _, _ in members)):
            continue
        for branch, one, _ in members:
            if one.heuristic is not None:
                yield f"(g) {who} {branch}: {one.reason}, and nobody has ended it by hand"
        branches = [branch for branch, _, call in members if not call.read_only]
        if 0 < len(did.intersection(branches)) < len(branches):
            yield f"(g) {who} {key}: of {', '.join(branches)} only {did.intersection(branches)} did"


def _compensated(net: dict[str, int]) -> Iterator[tuple[str, str]]:
    for step, total in net.items():
        if total and not step.startswith("@"):
            yield step, "compensated, and its effect is still there"


def _completed(state: RunState, net: dict[str, int]) -> Iterator[tuple[str, str]]:
    if state.phase is not Phase.COMPLETED:
        return
    for key, step in state.steps.items():
        node = state.program.named[step.name]
        done = step.status is Status.DONE and isinstance(node, Call) and not node.read_only
        if done and net.get(key) != 1:
            yield key, f"completed, and its net effect is {net.get(key, 0)}"
    for key in net:
        if key not in state.steps:
            yield key, "it took effect, and the run doesn't know of it"
