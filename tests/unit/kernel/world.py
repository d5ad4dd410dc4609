"""A model of participants: what their databases and the services behind them hold.

With a barrier, a row settles every copy of a command, early or late. Without one there is an idempotency key: an
effect happens once, but an undo that comes first leaves nothing that would stop the action.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from orchestrator.definition.plan import Call
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.events import Failure
from orchestrator.kernel.messages import Outcome, Reply
from tests.unit.kernel import branches
from tests.unit.kernel.branches import Said
from tests.unit.kernel.plans import FINAL
from tests.unit.kernel.rows import Row

REFUSED = Failure("Refused", "sold out", ("orchestrator.errors.Refused", "builtins.Exception"))
FAILED = Failure("OSError", "the disk is full", ("builtins.OSError",))
FINALLY = Failure("ValueError", "no such thing", (FINAL,))


class World:
    """Every effect there is, and how often each command did something."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rows: dict[tuple[str, int], Row] = {}
        self.effects: Counter[str] = Counter()
        """Net effect of each step: 0 or 1 unless something is badly wrong."""
        self.times: Counter[str] = Counter()
        """How often each step's effect happened."""
        self.possible: set[str] = set()
        """Steps of which some attempt may have left something."""
        self.by_hand: set[tuple[str, int]] = set()
        """Branches that somebody has committed or rolled back by hand."""
        self.committed: set[tuple[str, int]] = set()
        """Branches that were committed as they were told to."""
        self.healed = False

    def carry_out(self, command: Execute, call: Call, at: float) -> Reply:
        """Do what the command says, or fail at it."""
        vote = None
        match command.kind:
            case "do":
                outcome, failure = self._do(command, call)
            case "undo":
                outcome, failure = self._undo(command, call)
            case "callback":
                outcome, failure = self.plainly()
            case "prepare":
                outcome, failure, vote = branches.prepare(self, command, call)
            case "commit":
                outcome, failure, vote = branches.commit(self, command)
            case "abort":
                outcome, failure, vote = branches.abort(self, command)
        gives = command.kind in {"do", "commit"} or vote in {"committed", "read_only"}
        result = {"v": 2, "ok": True, "list": [1, 2]} if outcome == "succeeded" else None
        return Reply(
            at=at,
            step=command.step,
            kind=command.kind,
            attempt=command.attempt,
            outcome=outcome,
            vote=vote,
            result=result if gives else None,
            failure=failure,
        )

    def commits(self, step: str, round_: int) -> None:
        """A branch takes effect."""
        self._happens(step)
        self.possible.add(step)
        self.rows[step, round_] = Row.DONE
        self.committed.add((step, round_))

    def meddle(self) -> bool:
        """Somebody commits or rolls back a prepared transaction by hand; whether there was one."""
        prepared = sorted(key for key, row in self.rows.items() if row is Row.PREPARED)
        if not prepared:
            return False
        key = self.random.choice(prepared)
        self.by_hand.add(key)
        if self.random.random() < 0.5:
            del self.rows[key]
            return True
        self.effects[key[0]] += 1
        self.times[key[0]] += 1
        self.possible.add(key[0])
        self.rows[key] = Row.DONE
        return True

    def chosen(self) -> str:
        """How an action goes."""
        return "succeed" if self.healed else self.random.choice(_DO_CHOICES)

    def refusal(self) -> Failure | None:
        """What a refusal says."""
        return self.random.choice([REFUSED, None])

    def failure(self) -> Failure | None:
        """What an error says."""
        return self.random.choice([FAILED, FINALLY, None])

    def trouble(self, choice: str) -> Said:
        """An answer that says nothing was done, or nothing at all."""
        if choice == "fail":
            return Said("failed", self.failure())
        return Said("lost" if choice == "lose" else "unregistered")

    def make_done(self, step: str, round_: int, call: Call) -> None:
        """An operator sees to it by hand that the step is done."""
        if not call.read_only and not self.effects[step]:
            self._happens(step)
        self.rows[step, round_] = Row.DONE
        self.possible.add(step)

    def make_undone(self, step: str, round_: int) -> None:
        """An operator sees to it by hand that the step has no effect, now and later."""
        self.by_hand.add((step, round_))
        self.effects[step] = 0
        for key in list(self.rows):
            if key[0] == step:
                self.rows[key] = Row.TOMBSTONE
        self.rows[step, round_] = Row.TOMBSTONE

    def _do(self, command: Execute, call: Call) -> tuple[Outcome, Failure | None]:
        key = (command.step, command.round)
        row = self.rows.get(key)
        if row is Row.REFUSED:
            return "refused", self.random.choice([REFUSED, None])
        if row in {Row.UNDONE, Row.TOMBSTONE}:
            return ("rejected", None) if call.barrier else ("succeeded", None)
        if row is Row.DONE:
            self.possible.add(command.step)
            return "succeeded", None
        choice = self.chosen()
        if choice == "refuse":
            self.rows[key] = Row.REFUSED
            return "refused", self.random.choice([REFUSED, None])
        self.possible.add(command.step)
        if choice == "unregistered":
            return "unregistered", None
        if choice == "fail":
            return "failed", self.random.choice([FAILED, FINALLY, None])
        if choice == "lose":
            return "lost", None
        if not call.read_only:
            self._happens(command.step)
        self.rows[key] = Row.DONE
        if choice == "fail late" and not call.barrier:
            return "failed", FAILED
        return ("lost", None) if choice == "lose late" else ("succeeded", None)

    def _undo(self, command: Execute, call: Call) -> tuple[Outcome, Failure | None]:
        key = (command.step, command.round)
        row = self.rows.get(key)
        if row in {Row.UNDONE, Row.TOMBSTONE}:
            return "succeeded", None
        outcome, failure = self.plainly()
        if outcome not in {"succeeded", "lost"}:
            return outcome, failure
        if row is Row.DONE:
            if call.undo is None:
                return "failed", FAILED
            self.effects[command.step] -= 1
            self.rows[key] = Row.UNDONE
        elif call.barrier:
            self.rows[key] = Row.TOMBSTONE
        return outcome, failure

    def plainly(self) -> tuple[Outcome, Failure | None]:
        choice = "succeed" if self.healed else self.random.choice(_PLAIN_CHOICES)
        match choice:
            case "fail":
                return "failed", self.random.choice([FAILED, FINALLY, None])
            case "refuse":
                return "refused", REFUSED
            case "lose":
                return "lost", None
            case "unregistered":
                return "unregistered", None
            case "reject":
                return "rejected", None
            case _:
                return "succeeded", None

    def _happens(self, step: str) -> None:
        self.effects[step] += 1
        self.times[step] += 1


_TROUBLE = ["refuse", "fail", "fail", "fail late", "lose", "lose late", "unregistered"]
_DO_CHOICES = [*["succeed"] * 12, *_TROUBLE]
_PLAIN_CHOICES = [*["succeed"] * 6, "fail", "refuse", "lose", "unregistered", "reject"]


def describe(world: World) -> dict[str, Any]:
    """For a failing test's message."""
    return {
        "effects": dict(world.effects),
        "rows": {str(k): r.value for k, r in world.rows.items()},
    }
