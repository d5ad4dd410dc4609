"""The part of ``evolve`` that is about incidents: which steps need a person, and who has taken them on."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel.state import PARKED, OpenIncident, RunState


def opened(run: RunState, event: ev.StepParked | ev.HeuristicFound) -> None:
    """A step needs a person from now on."""
    run.open_incidents = {**run.open_incidents, event.step: OpenIncident(event.at)}


def close_passed(run: RunState) -> None:
    """Whatever moved a step on from where it was parked has closed its incident."""
    still = {
        key: incident
        for key, incident in run.open_incidents.items()
        if (step := run.steps.get(key)) is not None and step.status in PARKED
    }
    if len(still) < len(run.open_incidents):
        run.open_incidents = still


def acknowledged(run: RunState, event: ev.IncidentAcknowledged) -> None:
    """Somebody has taken an incident on. Raises ``IllegalEventError`` if there is none."""
    incident = run.open_incidents.get(event.step)
    if incident is None:
        raise IllegalEventError(
            f"run {run.run_id}: acknowledgement of {event.step!r}, which needs nobody"
        )
    taken_on = replace(incident, acked_at=event.at, acked_by=event.actor, ack_reason=event.reason)
    run.open_incidents = {**run.open_incidents, event.step: taken_on}
