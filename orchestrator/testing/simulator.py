"""The simulator: schedules by the thousand, each one reproducible from its seed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import count

from orchestrator.definition.plan import Call, Plan
from orchestrator.errors import IllegalEventError, InvalidInputError, UnknownSagaError
from orchestrator.testing.simulation.dice import FAULTS, Dice
from orchestrator.testing.simulation.growth import FORGETFUL
from orchestrator.testing.simulation.oracle import violations
from orchestrator.testing.simulation.plans import Workload, every_call, random_workload
from orchestrator.testing.simulation.results import Campaign, Schedule
from orchestrator.testing.simulation.shapes import workload_of
from orchestrator.testing.simulation.shop import Shop
from orchestrator.testing.simulation.world import START_S, RestlessError, World


class Simulator:
    """Plays schedules of random plans, or of one given plan. ``certain`` faults happen wherever they can."""

    def __init__(self, plan: Plan | None = None, certain: Collection[str] = ()) -> None:
        if unknown := set(certain) - set(FAULTS):
            raise InvalidInputError(f"no fault is called {', '.join(sorted(unknown))}")
        self._certain = certain
        self._workload = None if plan is None else workload_of(plan)
        calls = every_call() if plan is None else _calls(plan)
        self._shop = Shop(calls)

    def play(self, seed: int) -> Schedule:
        """One schedule."""
        dice = Dice(seed, self._certain)
        workload = self._workload or random_workload(dice.random)
        _keep_promises(dice, workload)
        world = World(seed, dice, self._shop, workload)
        try:
            world.play()
            found = tuple(violations(world))
        except RestlessError as error:
            found = (f"(c) {error}",)
        except (IllegalEventError, UnknownSagaError) as error:
            found = (f"(d) a run can't be replayed: {error}",)
        ended = Counter[str](world.journal.find(run_id).status for run_id in world.launched)
        return Schedule(
            seed=seed,
            violations=found,
            trace=tuple(world.trace),
            digest=world.digest,
            faults=dict(dice.counts),
            steps=world.steps,
            runs=dict(ended),
            virtual_s=world.now - START_S,
        )

    def run(
        self,
        first_seed: int = 0,
        schedules: int | None = None,
        seconds: float | None = None,
        *,
        failures: int = 1,
        progress: Callable[[Campaign], None] | None = None,
    ) -> Campaign:
        """Seeds from ``first_seed`` on: so many schedules, so many seconds, or until ``failures`` have failed.

        An interrupt from the keyboard ends it as well.
        """
        campaign = Campaign()
        started = time.monotonic()
        try:
            for seed in _seeds(first_seed, schedules):
                campaign.add(self.play(seed))
                campaign.elapsed_s = time.monotonic() - started
                if progress is not None:
                    progress(campaign)
                if len(campaign.failed) >= failures:
                    break
                if seconds is not None and campaign.elapsed_s >= seconds:
                    break
        except KeyboardInterrupt:
            campaign.interrupted = True
        return campaign


def _seeds(first: int, schedules: int | None) -> Iterator[int]:
    return iter(count(first) if schedules is None else range(first, first + schedules))


def _calls(plan: Plan) -> list[Call]:
    called = [step for step, _ in plan.steps() if isinstance(step, Call)]
    return called + [call for calls in plan.callbacks.values() for call in calls]


def _keep_promises(dice: Dice, workload: Workload) -> None:
    """A world that forgets cancelled keys is promised that an action's undo comes after its deadline: a clock that
    jumps breaks that, and so does a journal that forgets its deadlines: these don't meet in one schedule.
    """
    services = {call.service for call in _calls(workload.plan)}
    if FORGETFUL in services:
        dice.forbid("clock jumped")
        dice.forbid("journal restored")
