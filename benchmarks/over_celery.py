"""Ours and the chain on the same worker: throughput of many, latency of one; each measured with proof that all ran."""

from __future__ import annotations

import time

from benchmarks.chain import signature
from benchmarks.stack import Stack
from benchmarks.steps import STEPS, five_steps


class Effects:
    """Checks that between two moments each of the five steps ran exactly so many times."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.before = stack.effects()

    def check(self, runs: int) -> None:
        """Raise ``RuntimeError`` if any step ran more or less than once a run."""
        now = self._stack.effects()
        found = [now[slot] - self.before[slot] for slot in range(STEPS)]
        if found != [runs] * STEPS:
            raise RuntimeError(f"{runs} runs had the effects {found}")


def our_throughput(stack: Stack, runs: int) -> float:
    """Runs a second, from the first launch until the journal has all of them as completed."""
    effects, completed = Effects(stack), stack.completed()
    began = time.perf_counter()
    stack.launch(five_steps, runs)
    stack.wait_for_effects(STEPS - 1, effects.before[STEPS - 1] + runs)
    stack.wait_for_completed(completed + runs)
    took_s = time.perf_counter() - began
    effects.check(runs)
    return runs / took_s


def chain_throughput(stack: Stack, runs: int) -> float:
    """Chains a second, from the first launch until the last task of all of them has run."""
    effects = Effects(stack)
    began = time.perf_counter()
    with stack.celery.producer_pool.acquire(block=True) as producer:
        for number in range(runs):
            signature(stack.celery, number, awaited=False).apply_async(producer=producer)
    stack.wait_for_effects(STEPS - 1, effects.before[STEPS - 1] + runs)
    took_s = time.perf_counter() - began
    effects.check(runs)
    return runs / took_s


def our_latencies(stack: Stack, runs: int) -> list[float]:
    """Seconds from launch to result, of one run at a time."""
    effects, took_s = Effects(stack), []
    for number in range(runs):
        began = time.perf_counter()
        result = stack.client.launch(five_steps, number).result(timeout=30)
        took_s.append(time.perf_counter() - began)
        if result != number:
            raise RuntimeError(f"run {number} gave {result}")
    effects.check(runs)
    return took_s


def chain_latencies(stack: Stack, runs: int) -> list[float]:
    """Seconds from launch to result, of one chain at a time."""
    effects, took_s = Effects(stack), []
    for number in range(runs):
        began = time.perf_counter()
        found = signature(stack.celery, number, awaited=True).apply_async()
        result = found.get(timeout=30)
        took_s.append(time.perf_counter() - began)
        if result != number:
            raise RuntimeError(f"chain {number} gave {result}")
    effects.check(runs)
    return took_s
