"""The rule of the second person, for coordinators, which hold to it, and for what says of it beforehand."""

from __future__ import annotations

from orchestrator.kernel.second import TwoPeople
from orchestrator.settings import Settings


def two_people(settings: Settings) -> TwoPeople:
    """What takes a second person."""
    given = settings.second_person
    return TwoPeople(
        operations=frozenset(given.operations),
        sagas=frozenset(given.sagas),
        approvers=frozenset(given.approvers),
        expires_s=given.expires_s,
    )
