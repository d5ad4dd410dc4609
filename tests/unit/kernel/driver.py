"""Plays one run against the model world, with everything going wrong that can, and checks what must always hold."""

from __future__ import annotations

import copy
from random import Random
from typing import Any, NamedTuple, get_args

from msgspec.structs import asdict, replace

from orchestrator.definition.plan import Atomic, Call, Plan, decode_plan
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.codec import decode_event, encode_event
from orchestrator.kernel.commands import Execute, Timer
from orchestrator.kernel.decide import Turn, decide, launch, react
from orchestrator.kernel.evolve import evolve, fold, launched
from orchestrator.kernel.pending import pending
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import ENDED, EXECUTING, KIND, RunState, Status
from tests.unit.kernel import group_moves, groups, moves, oracle, verdicts
from tests.unit.kernel.flights import Flight, Identity, only_groups, time_of, why_not
from tests.unit.kernel.plans import SIGNALS
from tests.unit.kernel.world import World


class Outcome(NamedTuple):
    """How a play ended."""

    run: RunState
    world: World
    events: list[ev.Event]


class Driver:
    """One run, its world, and the messages between them."""

    def __init__(self, plan: Plan, given: dict[str, Any], seed: int) -> None:
        self.random = Random(seed)
        self.world = World(self.random)
        self.program = Program(plan)
        self.now = 1_000.0
        self.events: list[ev.Event] = []
        self.flights: list[Flight] = []
        self.replies: list[msg.Reply] = []
        self.seen: set[Identity] = set()
        self.settled: set[Identity] = set()
        self.skipped: set[str] = set()
        self.meddlesome = self.random.random() < 0.3
        message = msg.Launch(
            at=self.now, run_id="r1", saga="random", version=1, plan=self.program.hash, input=given
        )
        turn = launch(self.program, message)
        first = turn.events[0]
        assert isinstance(first, ev.RunLaunched)
        self.shadow = launched(self.program, first)
        moves.check_started(self.shadow)
        self.run = self.shadow
        self._absorb(Turn(turn.events[1:], turn.run), first)

    def play(self, actions: int = 150) -> Outcome:
        """Chaos first, then a world that has healed, then an operator who repairs."""
        for _ in range(self.random.randrange(actions)):
            self.random.choice(self._ACTIONS)(self)
            if self.run.phase in ENDED and self.random.random() < 0.3:
                break
        self.world.healed = True
        if self.run.paused:
            self._stand_still()
            self.turn(msg.Resume(at=self.now))
        self.run_on()
        assert oracle.has_ended_or_is_stuck(self.run), self
        for _ in range(40):
            if not self.run.parked and self.run.phase in ENDED:
                break
            self.repair()
            self.run_on()
        assert self.run.phase in ENDED, self
        self.stragglers()
        verdicts.check_world(self.run, self.world)
        return Outcome(self.run, self.world, self.events)

    def _stand_still(self) -> None:
        """A paused run sends nothing new, whatever time it is."""
        for flight in [f for f in self.flights if self._outstanding(f)]:
            self.turn(self._carry_out(flight))
        sent = len(self.flights)
        self._pass(self.now + 1_000.0)
        assert self.run.paused is None or only_groups(self.run, self.flights[sent:]), self

    def run_on(self) -> None:
        """Carry on with participants that answer, until nothing moves by itself."""
        for _ in range(400):
            flight = next((f for f in self.flights if self._outstanding(f)), None)
            if flight is not None:
                self.now += 0.01
                self.turn(self._carry_out(flight))
                continue
            waiting = [s for s in self.run.steps.values() if s.status is Status.WAITING]
            if waiting and self.random.random() < 0.5:
                for name in SIGNALS:
                    self.turn(msg.Signal(at=self.now, name=name))
                continue
            commands = pending(self.run)
            if not commands and not waiting:
                return
            if commands:
                self._pass(min(time_of(command) for command in commands))
            due = [c for c in commands if isinstance(c, Timer) and c.at <= self.now]
            if due:
                self.turn(msg.TimerFired(at=self.now, step=due[0].step))
            self._dispatch()
        raise AssertionError(f"{self} doesn't come to rest")

    def repair(self) -> None:
        """Do as an operator would: retry, and where that doesn't help, state what is."""
        key = self.random.choice(self.run.parked)
        step = self.run.steps[key]
        group = group_moves.concerns(self.run, key)
        if (step.reached or group) and step.attempt < 12 and self.random.random() < 0.5:
            self.turn(msg.Retry(at=self.now, step=key))
            return
        undone = step.status is Status.UNDO_PARKED
        if not undone and key in self.program.places and self.random.random() < 0.2:
            undone = not self.run.pivoted
        if group and step.status is not Status.UNDO_PARKED:
            undone = self.random.random() < 0.4
        result = None if group else [1]
        self.operate(msg.Resolve(at=self.now, step=key, undone=undone, result=result))

    def stragglers(self) -> None:
        """Whatever is still about arrives after the end."""
        for flight in [f for f in self.flights if f.may_come]:
            assert self.turn(self._carry_out(flight)) == []
        for reply in self.replies:
            assert self.turn(reply) == []

    def turn(self, message: msg.Message) -> list[ev.Event]:
        """React, and check all that holds of any reaction."""
        before = self.run
        kept = _copied(before) if self.random.random() < 0.1 else None
        turn = react(before, message)
        assert decide(before, message) == turn.events
        assert kept is None or kept == _copied(before)
        if isinstance(message, msg.Reply | msg.Expired):
            identity = (message.step, message.kind, message.attempt)
            if identity in self.settled:
                assert turn.events == [], "a duplicate did something"
            elif turn.events:
                self.settled.add(identity)
        self._absorb(turn)
        if self.random.random() < 0.05:
            self.restart()
        return turn.events

    def restart(self) -> None:
        """All that is left is the journal."""
        program = Program(decode_plan(self.program.plan.encoded()))
        again = fold(program, self.events)
        assert replace(again, program=self.run.program) == self.run
        assert pending(again) == pending(self.run)
        for command in pending(self.run):
            if isinstance(command, Execute) and command.due <= self.now:
                self._send(command)

    def operate(self, operation: msg.Operation) -> None:
        """Act as an operator who tells the truth."""
        why = why_not(self.run, operation)
        if why:
            before = pending(self.run)
            [event] = self.turn(operation)
            assert isinstance(event, ev.OperationRefused)
            assert event.why == why
            assert pending(self.run) == before
            return
        step = self.run.steps.get(getattr(operation, "step", None) or "")
        node = self.program.named[step.name] if step else None
        if isinstance(operation, msg.Skip):
            self.skipped.add(operation.step)
        if isinstance(operation, msg.Resolve) and step is not None and isinstance(node, Call):
            self._forget(operation.step)
            if operation.undone:
                self.world.make_undone(operation.step, step.round)
            elif step.name in self.program.grouped:
                groups.make_done(self.world, operation.step, step.round, node)
            elif step.name in self.program.places:
                self.world.make_done(operation.step, step.round, node)
        if isinstance(operation, msg.Resolve) and isinstance(node, Atomic):
            groups.resolve(self.world, self.run, operation)
        assert self.turn(operation)

    def _forget(self, step: str) -> None:
        """What an operator has found out about can't change any more."""
        for flight in self.flights:
            if flight.command.step == step and not flight.call.barrier:
                flight.dropped = True

    def _absorb(self, turn: Turn, first: ev.Event | None = None) -> None:
        self.events += [first] if first is not None else []
        for event in turn.events:
            name = type(event).__name__
            read = decode_event(name, 1, encode_event(event))
            before, self.shadow = self.shadow, evolve(self.shadow, read)
            moves.check(before, self.shadow, event)
        assert self.shadow == turn.run
        assert pending(self.shadow) == pending(turn.run)
        oracle.check(turn.run)
        self.events += turn.events
        self.run = turn.run
        self._dispatch()

    def _dispatch(self) -> None:
        for command in pending(self.run):
            if not isinstance(command, Execute) or command.due > self.now:
                continue
            identity = (command.step, command.kind, command.attempt)
            if identity not in self.seen:
                self.seen.add(identity)
                mine = [f for f in self.flights if f.command.step == command.step]
                about = any(f.identity not in self.settled for f in mine)
                world = self.world
                verdicts.check_dispatch(self.run, world, self.events, command, mine, about=about)
                self._send(command)

    def _pass(self, until: float) -> None:
        """Let time pass; what comes due meanwhile is dispatched."""
        self.now = max(self.now, until)
        self._dispatch()

    def _send(self, command: Execute) -> None:
        call = self.program.call(self.run.steps[command.step].name)
        flight = Flight(command, call, self.now + command.timeout_s)
        twins = [f for f in self.flights if f.identity == flight.identity]
        flight.dropped = not call.barrier and any(twin.executed for twin in twins)
        self.flights.append(flight)

    def _carry_out(self, flight: Flight) -> msg.Reply:
        flight.executed = True
        if not flight.call.barrier:  # what it promises holds for copies that come together
            for twin in self.flights:
                twin.dropped |= twin.may_come and twin.identity == flight.identity
        return self.world.carry_out(flight.command, flight.call, self.now)

    def _outstanding(self, flight: Flight) -> bool:
        step = self.run.steps.get(flight.command.step)
        if step is None or step.status not in EXECUTING or flight.dropped:
            return False
        identity = (flight.command.step, KIND[step.status], step.attempt)
        return identity == flight.identity and identity not in self.settled

    def _act_work(self) -> None:
        waiting = [f for f in self.flights if not f.executed and not f.dropped]
        if waiting:
            self.replies.append(self._carry_out(self.random.choice(waiting)))

    def _act_work_again(self) -> None:
        """A broker delivers a command twice."""
        again = [
            f
            for f in self.flights
            if f.executed and (f.call.barrier or self._has_row(f)) and not f.dropped
        ]
        if again:
            self.replies.append(self._carry_out(self.random.choice(again)))

    def _has_row(self, flight: Flight) -> bool:
        return (flight.command.step, flight.command.round) in self.world.rows

    def _act_deliver(self) -> None:
        if self.replies:
            reply = self.random.choice(self.replies)
            if self.random.random() < 0.7:
                self.replies.remove(reply)
            self.turn(replace(reply, at=self.now))

    def _act_expire(self) -> None:
        sent = {c.step for c in pending(self.run)}  # no deadline passes for what a pause holds
        late = [f for f in self.flights if self._outstanding(f) and f.command.step in sent]
        if not late:
            return
        flight = self.random.choice(late)
        for copy_ in [f for f in self.flights if f.identity == flight.identity]:
            if (
                copy_.may_come
                and not copy_.call.barrier
                and copy_.command.kind in {"do", "prepare"}
            ):
                if self.random.random() < 0.5:
                    self._carry_out(copy_)
                copy_.dropped = True
        self.world.possible.add(flight.command.step)
        self._pass(flight.deadline)
        step, kind, attempt = flight.identity
        self.turn(msg.Expired(at=self.now, step=step, kind=kind, attempt=attempt))

    def _act_timer(self) -> None:
        timers = [command for command in pending(self.run) if isinstance(command, Timer)]
        if not timers:
            return
        timer = self.random.choice(timers)
        if self.random.random() < 0.3 and timer.at > self.now:
            assert self.turn(msg.TimerFired(at=self.now, step=timer.step)) == []
            return
        self._pass(timer.at)
        assert self.turn(msg.TimerFired(at=self.now, step=timer.step))
        assert self.turn(msg.TimerFired(at=self.now, step=timer.step)) == []

    def _act_signal(self) -> None:
        name = self.random.choice([*SIGNALS, "other"])
        signal = msg.Signal(
            at=self.now, name=name, data=7, signal_id=self.random.choice(["", "x", "y"])
        )
        self.turn(signal)
        if signal.signal_id:
            assert self.turn(signal) == []

    def _act_foreign(self) -> None:
        """Replies to nothing: of another step, kind or attempt than any outstanding one."""
        keys = [*self.run.steps, "nobody", "s1[9]", "@on_stuck#77"]
        step = self.random.choice(keys)
        state = self.run.steps.get(step)
        kind = self.random.choice(get_args(ev.CommandKind))
        attempt = self.random.choice([0, 1, 2, 3])
        if state is not None and (step, kind, attempt) in self.seen:
            return
        if state is not None and state.attempt == attempt and KIND.get(state.status) == kind:
            return
        outcome = self.random.choice(_OUTCOMES)
        reply = msg.Reply(at=self.now, step=step, kind=kind, attempt=attempt, outcome=outcome)
        assert self.turn(reply) == []
        assert self.turn(msg.Expired(at=self.now, step=step, kind=kind, attempt=attempt)) == []

    def _act_operator(self) -> None:
        if self.random.random() < 0.4:
            return
        keys = [*self.run.steps, "nobody"]
        if self.random.random() < 0.5:
            keys = self.run.parked or keys
        step = self.random.choice(keys)
        undone = self.random.random() < 0.4
        operations: list[msg.Operation] = [
            msg.Retry(at=self.now, actor="ann"),
            msg.Retry(at=self.now, step=step),
            msg.Retry(at=self.now, step=step, args={"a": 5}),
            msg.Skip(at=self.now, step=step, result={"v": 1, "ok": False, "list": []}),
            msg.Skip(at=self.now, step=step, result=[1]),
            msg.Resolve(at=self.now, step=step, undone=undone, result=[1]),
            msg.Resolve(at=self.now, step=step, undone=undone, result={"v": 3}),
            msg.Resolve(at=self.now, step=step, undone=undone),
            msg.Skip(at=self.now, step=step),
            msg.Forget(at=self.now, step=step),
        ]
        if self.random.random() < 0.2:
            operations = [msg.Compensate(at=self.now), msg.Cancel(at=self.now)]
        if self.random.random() < 0.1 or (self.run.paused and self.random.random() < 0.3):
            operations = [msg.Pause(at=self.now), msg.Resume(at=self.now)]
        self.operate(self.random.choice(operations))

    def _act_take_over(self) -> None:
        self.restart()
        self.turn(msg.Recovered(at=self.now))

    def _act_meddle(self) -> None:
        if self.meddlesome and self.random.random() < 0.3:
            self.world.meddle()

    def _act_time(self) -> None:
        self._pass(self.now + self.random.choice([0.1, 1.0, 5.0]))

    _ACTIONS = (
        *(_act_work,) * 6,
        *(_act_deliver,) * 6,
        _act_work_again,
        _act_expire,
        _act_timer,
        _act_signal,
        _act_foreign,
        _act_operator,
        _act_meddle,
        _act_take_over,
        *(_act_time,) * 2,
    )

    def __repr__(self) -> str:
        steps = {key: step.status.value for key, step in self.run.steps.items()}
        names = [type(event).__name__ for event in self.events]
        return f"{self.run.phase} {steps} {pending(self.run)} {names}"


_OUTCOMES: tuple[msg.Outcome, ...] = get_args(msg.Outcome)


def _copied(run: RunState) -> Any:
    return copy.deepcopy({key: v for key, v in asdict(run).items() if key != "program"})
