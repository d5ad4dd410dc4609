"""Sagas and distributed transactions for Python, on Celery and SQLAlchemy.

What a service and a saga are written with. Clients and coordinators are built by ``orchestrator.wiring``.
"""

from orchestrator.client import AsyncClient, AsyncRun, Client, Run
from orchestrator.definition.ended import Ended
from orchestrator.definition.references import contains, not_
from orchestrator.definition.retry import Retry
from orchestrator.definition.saga import Saga, saga
from orchestrator.definition.shapes import otherwise, parallel, sequence, sleep, wait_for, when
from orchestrator.errors import Compensated, DefinitionError, Refused, SagaError, Stuck
from orchestrator.participant.call import Call
from orchestrator.participant.service import Service, remote

__all__ = [
    "AsyncClient",
    "AsyncRun",
    "Call",
    "Client",
    "Compensated",
    "DefinitionError",
    "Ended",
    "Refused",
    "Retry",
    "Run",
    "Saga",
    "SagaError",
    "Service",
    "Stuck",
    "contains",
    "not_",
    "otherwise",
    "parallel",
    "remote",
    "saga",
    "sequence",
    "sleep",
    "wait_for",
    "when",
]
