"""How long to wait before the next attempt.

The curve is tenacity's; the jitter is derived from the run, the step and the attempt, so that a
replay waits as long as the first time did and runs that failed together don't come back together.
"""

from __future__ import annotations

import zlib

from tenacity import RetryCallState, wait_exponential, wait_fixed, wait_incrementing
from tenacity.wait import wait_base

from orchestrator.definition.plan import RetryPolicy

ALWAYS_FINAL = frozenset(
    {
        "orchestrator.errors.InvalidInputError",
        "orchestrator.errors.EncodingError",
        "orchestrator.errors.PayloadTooLargeError",
    }
)
"""Error types that another attempt can't mend."""


def delay_s(policy: RetryPolicy, failed: int, seed: str) -> float:
    """Seconds to wait after the ``failed``-th attempt (1 is the first), never more than the cap.

    The jitter spreads evenly around the curve; near the cap the curve gives way, so that waits are
    spread there too.
    """
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
    state.attempt_number = failed
    plain = min(_curve(policy)(state), policy.cap_s / (1 + policy.jitter))
    unit = zlib.crc32(f"{seed}:{failed}".encode()) / 0xFFFFFFFF
    return float(max(0.0, plain * (1 + policy.jitter * (2 * unit - 1))))


def _curve(policy: RetryPolicy) -> wait_base:
    match policy.strategy:
        case "exponential":
            return wait_exponential(
                multiplier=policy.initial_s, max=policy.cap_s, exp_base=float(policy.factor)
            )
        case "linear":
            return wait_incrementing(
                start=policy.initial_s,
                increment=policy.initial_s * policy.factor,
                max=policy.cap_s,
            )
        case "fixed":
            return wait_fixed(policy.initial_s)
