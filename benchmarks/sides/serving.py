"""The conversation of a side with the benchmark: it is asked to run N, and answers with what it found."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from benchmarks.processes import Process


class Took(msgspec.Struct, frozen=True):
    """How long some runs took, and the proof that they ran."""

    wall_s: float
    cpu_s: float
    """Of this process."""
    completed: int
    """By the store's own account."""
    effects: Sequence[int]
    """By step."""


def serve(run: Callable[[int], tuple[int, Sequence[int]]]) -> None:
    """Answer until the end of the input. ``run`` does N runs and returns how many completed, and the effects."""
    print("ready", flush=True)
    for line in sys.stdin:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        completed, effects = run(int(line))
        took = Took(time.perf_counter() - wall_s, time.process_time() - cpu_s, completed, effects)
        print(msgspec.json.encode(took).decode(), flush=True)


def ask(side: Process, runs: int) -> Took:
    """Have a side do so many runs. Raises ``RuntimeError`` unless each ran completely, and once."""
    side.say(str(runs))
    took = msgspec.json.decode(side.hear(), type=Took)
    if took.completed != runs or any(effects != runs for effects in took.effects):
        raise RuntimeError(f"{runs} runs: {took}")
    return took
