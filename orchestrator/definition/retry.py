"""``Retry``: how a user says when a failed attempt is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.plan import RetryPolicy
from orchestrator.errors import DefinitionError

_STRATEGIES = ("exponential", "linear", "fixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When and how often a failed attempt is tried again; wrong values raise ``DefinitionError``.

    ``attempts`` counts the first one too; None is no limit, and then a ``budget`` is needed. ``budget`` is how long
    after the first attempt a new one may still begin. The delay before attempt ``n`` starts at ``initial``, grows by
    ``backoff`` (``exponential``: times ``factor`` each time; ``linear``: plus ``initial`` times ``factor``;
    ``fixed``: stays) up to ``cap``, and is then varied by the share ``jitter`` (0 to 1). Durations are seconds or
    timedeltas. Errors of the types in ``final``, or derived from them, are never retried.
    """

    attempts: int | None = 5
    budget: Duration | None = None
    backoff: Literal["exponential", "linear", "fixed"] = "exponential"
    initial: Duration = 0.2
    factor: float = 2.0
    cap: Duration = 30.0
    jitter: float = 0.25
    final: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't work, where it is written."""
        self.policy()

    def policy(self) -> RetryPolicy:
        """The same as plan data."""
        self._check()
        return RetryPolicy(
            attempts=self.attempts,
            budget_s=None if self.budget is None else seconds(self.budget, "Retry(budget=)"),
            strategy=self.backoff,
            initial_s=seconds(self.initial, "Retry(initial=)", zero=True),
            factor=float(self.factor),
            cap_s=seconds(self.cap, "Retry(cap=)", zero=True),
            jitter=float(self.jitter),
            final=tuple(sorted({qualified_name(kind) for kind in self.final})),
        )

    def _check(self) -> None:
        attempts = self.attempts
        if attempts is None and self.budget is None:
            raise DefinitionError("Retry(attempts=None) retries for ever: give a budget= as well")
        if attempts is not None and attempts < 1:
            raise DefinitionError(f"Retry(attempts=): 1 or more, or None, not {attempts!r}")
        if self.backoff not in _STRATEGIES:
            raise DefinitionError(
                f"Retry(backoff=): one of {', '.join(_STRATEGIES)}, not {self.backoff!r}"
            )
        if not 1 <= self.factor < float("inf"):
            raise DefinitionError(f"Retry(factor=): 1 or more, not {self.factor!r}")
        if not 0 <= self.jitter <= 1:
            raise DefinitionError(f"Retry(jitter=): from 0 to 1, not {self.jitter!r}")
        final: Any = self.final
        if not isinstance(final, tuple) or not all(
            isinstance(k, type) and issubclass(k, BaseException) for k in final
        ):
            raise DefinitionError(f"Retry(final=): a tuple of exception types, not {final!r}")


def qualified_name(kind: type) -> str:
    """The name of a type as plans and failures carry it: ``module.Class``."""
    return f"{kind.__module__}.{kind.__qualname__}"
