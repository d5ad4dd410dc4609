"""What must hold after every schedule, whatever happened in it.

(a) every accepted launch has a run; (b) each step's net effect is 0 or 1, and just what the run says of itself; (c)
every run has ended, or is stuck with a reason; (d) the logs have no gap and their hash chains hold; (e) the read model
is what a replay of the log makes; (f) no branch of an atomic group that was taken back has an effect, and no try is
left open; and nothing received is left unacknowledged, no message is a defect.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.definition.plan import Call
from orchestrator.errors import IllegalEventError
from orchestrator.kernel.state import ENDED, Phase, RunState, Status
from orchestrator.testing.simulation.shop import Effect, Key
from orchestrator.testing.simulation.world import World
from orchestrator.views.read_model import differences


def violations(world: World) -> Iterator[str]:
    """One line for each thing that doesn't hold of a world at rest."""
    yield from world.surprises
    defects = world.defects["defects"]
    if defects:
        yield f"(c) the coordinators met {defects} messages they couldn't take"
    yield from (f"(d) {fault}" for fault in world.journal.verify())
    yield from (f"(e) {difference}" for difference in differences(world.journal))
    effects = world.shop.effects()
    for effect in effects:
        yield from _once(effect)
    for run_id in world.launched:
        try:
            yield from _run(world, run_id, effects)
        except IllegalEventError as error:
            yield f"(d) {run_id[:4]} can't be replayed: {error}"
    left = sum(map(len, world.network.streams.values()))
    if left:
        yield f"(c) {left} answers were never acknowledged"


def _once(effect: Effect) -> Iterator[str]:
    what = f"(b) {effect.run[:4]} {effect.step}: the effect {effect.key[len(effect.run) :]}"
    if effect.done > 1:
        yield f"{what} happened {effect.done} times"
    if effect.undone > effect.done:
        yield f"{what} was undone {effect.undone} times after {effect.done}"


def _run(world: World, run_id: str, effects: list[Effect]) -> Iterator[str]:
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
    net: dict[Key, int] = {}
    for effect in effects:
        key = (effect.run, effect.step)
        net[key] = net.get(key, 0) + effect.done - effect.undone
    if state.phase in ENDED:
        yield from _groups(who, state, [effect for effect in effects if effect.run == run_id])
    mine = {step: total for (run, step), total in net.items() if run == run_id}
    for step, total in mine.items():
        if total not in {0, 1}:
            yield f"(b) {who} {step}: its net effect is {total}"
        if total and state.phase is Phase.COMPENSATED and not step.startswith("@"):
            yield f"(b) {who} {step}: compensated, and its effect is still there"
    if state.phase is Phase.COMPLETED:
        yield from _completed(who, state, mine)


def _groups(who: str, state: RunState, effects: list[Effect]) -> Iterator[str]:
    for effect in effects:
        step = state.steps.get(effect.step)
        stands = effect.done != effect.undone
        if effect.is_try and stands:
            yield f"(f) {who} {effect.step}: its try is neither confirmed nor cancelled"
        elif stands and step is not None and step.status is Status.ABORTED:
            yield f"(f) {who} {effect.step}: its group was taken back, and its effect is there"


def _completed(who: str, state: RunState, net: dict[str, int]) -> Iterator[str]:
    for key, step in state.steps.items():
        node = state.program.named[step.name]
        done = step.status is Status.DONE and isinstance(node, Call) and not node.read_only
        if done and net.get(key) != 1:
            yield f"(b) {who} {key}: completed, and its net effect is {net.get(key, 0)}"
    for step_key in net:
        if step_key not in state.steps:
            yield f"(b) {who} {step_key}: it took effect, and the run doesn't know of it"
