"""What events make of a run's incidents: ``evolve`` for the parts of the state that say who is needed."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel.state import PARKED, OpenIncident, RunState


def opened(run: RunState, event: ev.StepParked | ev.HeuristicFound) -> None:
    """A step needs a person, or needs one for another reason than before."""
    run.open_incidents = {**run.open_incidents, event.step: OpenIncident(event.at)}


def closed(run: RunState) -> None:
    """Whatever moved a step on from where it was parked has closed its incident."""
    still = {
        key: incident
        for key, incident in run.open_incidents.items()
        if (step := run.steps.get(key)) is not None and step.status in PARKED
    }
    if len(still) < len(run.open_incidents):
        run.open_incidents = still


def acknowledged(run: RunState, event: ev.IncidentAcknowledged) -> None:
    """Somebody has taken it on. Raises ``IllegalEventError`` where nobody is needed."""
    incident = run.open_incidents.get(event.step)
    if incident is None:
        raise IllegalEventError(
            f"run {run.run_id}, {run.phase}: acknowledgement of {event.step!r}, which needs nobody"
        )
    taken = replace(incident, acked_at=event.at, acked_by=event.actor, ack_reason=event.reason)
    run.open_incidents = {**run.open_incidents, event.step: taken}
