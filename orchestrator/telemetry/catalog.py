"""Every metric there is: name, type, labels, and what it says. The docs' table and the alert rules are tested by it.

Labels name sagas, steps, services, reasons and the causes of incidents, which are few; never runs, keys or tags.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Place = Literal["coordinator", "worker", "console"]

WORK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""For what participants do, and for waiting."""
COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metric(NamedTuple):
    """One metric, as it is exported."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    place: Place
    says: str
    buckets: tuple[float, ...] = ()


_RUN = ("saga",)
_COMMAND = ("saga", "step", "kind")

METRICS = (
    Metric(
        "saga_runs_launched_total", "counter", _RUN, "coordinator", "Runs taken from the inbox."
    ),
    Metric("saga_runs_completed_total", "counter", _RUN, "coordinator", "Runs that completed."),
    Metric("saga_runs_compensated_total", "counter", _RUN, "coordinator", "Runs that were undone."),
    Metric(
        "saga_runs_stuck_total",
        "counter",
        _RUN,
        "coordinator",
        "How often a run came to need a person.",
    ),
    Metric(
        "saga_commands_total",
        "counter",
        (*_COMMAND, "outcome"),
        "coordinator",
        "Attempts that were settled, by outcome; expired: no answer within the deadline.",
    ),
    Metric(
        "saga_command_seconds",
        "histogram",
        _COMMAND,
        "coordinator",
        "How long answered attempts took in their workers.",
        WORK_S,
    ),
    Metric(
        "saga_retries_total",
        "counter",
        _COMMAND,
        "coordinator",
        "Attempts that will be made again, by policy or because an operator asked.",
    ),
    Metric(
        "saga_queue_wait_seconds",
        "histogram",
        ("service",),
        "coordinator",
        "From when a command was due to its answer, without the work itself: queue lag.",
        WORK_S,
    ),
    Metric(
        "saga_inbox_wait_seconds",
        "histogram",
        (),
        "coordinator",
        "From when a launch, signal or operation was sent to when it was written.",
        WORK_S,
    ),
    Metric(
        "saga_barrier_hits_total",
        "counter",
        ("service",),
        "coordinator",
        "Answers to commands that the participant's barrier knew already.",
    ),
    Metric(
        "saga_open_runs",
        "gauge",
        ("saga", "status"),
        "coordinator",
        "Open runs of the shards held, by status.",
    ),
    Metric(
        "saga_oldest_open_run_seconds",
        "gauge",
        _RUN,
        "coordinator",
        "Age of the oldest open run that isn't stuck.",
    ),
    Metric(
        "saga_oldest_stuck_seconds",
        "gauge",
        _RUN,
        "coordinator",
        "Since when the stuck run that waits longest has not moved.",
    ),
    Metric(
        "saga_open_incidents",
        "gauge",
        ("saga", "step", "cluster", "taken"),
        "coordinator",
        "Open incidents by cause, and whether somebody has taken them on; beyond 50 causes `other`.",
    ),
    Metric(
        "saga_waiting_approvals",
        "gauge",
        ("saga", "operation"),
        "coordinator",
        "Operations that wait for a second person.",
    ),
    Metric(
        "saga_oldest_approval_seconds",
        "gauge",
        _RUN,
        "coordinator",
        "How long the operation that waits longest for a second person has waited.",
    ),
    Metric(
        "saga_oldest_command_seconds",
        "gauge",
        ("service",),
        "coordinator",
        "Since when the command that waits longest for an answer has been due, earlier attempts included.",
    ),
    Metric(
        "saga_queue_commands",
        "gauge",
        ("queue", "state"),
        "coordinator",
        "Commands held back by the coordinator, and under way to workers.",
    ),
    Metric(
        "saga_turn_events",
        "histogram",
        (),
        "coordinator",
        "Events a transaction: batch size.",
        BATCH,
    ),
    Metric(
        "saga_append_seconds",
        "histogram",
        (),
        "coordinator",
        "How long the journal took for a turn's transaction.",
        COMMIT_S,
    ),
    Metric("saga_shards_held", "gauge", (), "coordinator", "Shards this coordinator writes."),
    Metric(
        "saga_lease_changes_total",
        "counter",
        ("change",),
        "coordinator",
        "Shards gained, and shards lost or given up.",
    ),
    Metric(
        "saga_dropped_replies_total",
        "counter",
        ("reason",),
        "coordinator",
        "Answers that changed nothing: late, duplicate, of an older epoch, or unreadable.",
    ),
    Metric(
        "saga_coordinator_faults_total",
        "counter",
        ("fault",),
        "coordinator",
        "What should not happen often: publish errors, fenced turns, defects.",
    ),
    Metric(
        "saga_inquiries_total",
        "counter",
        ("answer",),
        "coordinator",
        "What came of workers asking about branches in doubt.",
    ),
    Metric(
        "saga_worker_commands_total",
        "counter",
        ("service", "participant", "kind", "outcome"),
        "worker",
        "Commands carried out, all processes of the worker together.",
    ),
    Metric(
        "saga_worker_command_seconds",
        "histogram",
        ("service", "participant", "kind"),
        "worker",
        "How long commands took.",
        WORK_S,
    ),
    Metric(
        "saga_worker_barrier_hits_total",
        "counter",
        ("service", "participant"),
        "worker",
        "Commands that the barrier knew already.",
    ),
    Metric(
        "saga_worker_dropped_messages_total",
        "counter",
        ("reason",),
        "worker",
        "Messages thrown away because they can't be read or aren't signed.",
    ),
    Metric(
        "saga_prepared_branches",
        "gauge",
        ("service",),
        "worker",
        "Prepared transactions of atomic groups, as the last sweep found them.",
    ),
    Metric(
        "saga_prepared_oldest_seconds",
        "gauge",
        ("service",),
        "worker",
        "Age of the oldest of them: how long it has been in doubt, and holds its locks.",
    ),
    Metric(
        "saga_journal_runs",
        "gauge",
        ("saga", "status"),
        "console",
        "All runs in the journal, by status.",
    ),
    Metric(
        "saga_journal_shards",
        "gauge",
        ("state",),
        "console",
        "Shards that are written by a coordinator, and those whose lease has run out.",
    ),
    Metric("saga_journal_coordinators", "gauge", (), "console", "Coordinators that are alive."),
    Metric(
        "saga_journal_waiting_bulks",
        "gauge",
        (),
        "console",
        "Bulk operations that wait for a second person.",
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
