"""Finding and listing runs that are held in memory: what ``listing`` says in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.errors import RunNotFoundError
from orchestrator.journal.listing import ambiguous, looked_through, read_cursor, write_cursor
from orchestrator.journal.port import Page, RunFilter
from orchestrator.kernel.summary import RunSummary


def found_run(
    runs: Mapping[str, RunSummary], keys: Mapping[tuple[str, str], str], wanted: str
) -> RunSummary:
    """One run by its id, a prefix of it, its key, or ``saga:key``."""
    if wanted in runs:
        return runs[wanted]
    fitting = sorted(run_id for run_id in runs if wanted and run_id.startswith(wanted))
    if not fitting:
        saga, _, rest = wanted.partition(":")
        fitting = [
            run_id for name, run_id in keys.items() if name[1] == wanted or name == (saga, rest)
        ]
    if not fitting:
        raise RunNotFoundError(f"no run has the id, id prefix or key {wanted!r}")
    if len(fitting) > 1:
        raise ambiguous(wanted, [f"{run_id} ({runs[run_id].saga})" for run_id in fitting])
    return runs[fitting[0]]


def page_of(runs: list[RunSummary], where: RunFilter, cursor: str | None, limit: int) -> Page:
    """Runs, newest first, after the cursor."""
    fitting = [run for run in runs if _fits(run, where)]
    if cursor is not None:
        place = read_cursor(cursor)
        fitting = [run for run in fitting if (run.launched_at, run.run_id) < place]
    fitting.sort(key=lambda run: (run.launched_at, run.run_id), reverse=True)
    if where.text is not None:
        text = where.text.lower()
        number = looked_through(where)
        looked_at = fitting[:number]
        fitting = [run for run in looked_at if _mentions(run, text)]
        if len(fitting) <= limit and len(looked_at) == number:
            return Page(tuple(fitting), write_cursor(looked_at[-1]), number)
    shown = tuple(fitting[:limit])
    return Page(shown, write_cursor(shown[-1]) if len(fitting) > limit and shown else None)


def counted(runs: Iterable[RunSummary]) -> dict[str, dict[str, int]]:
    """Saga to status to number of runs."""
    found: dict[str, dict[str, int]] = {}
    for saga, status in sorted((run.saga, run.status) for run in runs):
        by_status = found.setdefault(saga, {})
        by_status[status] = by_status.get(status, 0) + 1
    return found


def _fits(run: RunSummary, where: RunFilter) -> bool:
    return (
        (not where.status or run.status in where.status)
        and (where.saga is None or run.saga == where.saga)
        and (not where.sagas or run.saga in where.sagas)
        and (where.key is None or run.key == where.key)
        and (where.launched_after is None or run.launched_at >= where.launched_after)
        and (where.launched_before is None or run.launched_at < where.launched_before)
        and (not where.stuck or run.status == "stuck" or bool(run.parked))
        and (not where.ids or run.run_id in where.ids)
        and (where.cluster is None or any(one.cluster == where.cluster for one in run.incidents))
        and all(run.tags.get(name) == value for name, value in where.tags.items())
        and (where.step is None or _is_at(run, where.step))
    )


def _mentions(run: RunSummary, text: str) -> bool:
    return any(text in part.lower() for part in (run.run_id, run.key or "", run.saga, run.reason))


def _is_at(run: RunSummary, step: str) -> bool:
    return any(at == step or at.startswith(f"{step}[") for at in (*run.steps, *run.parked))
