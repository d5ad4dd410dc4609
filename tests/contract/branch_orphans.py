"""Branches that nobody ends: a prepared branch of a run that no journal knows, and the plan it may have."""

from __future__ import annotations

from orchestrator.definition.plan import Atomic, Call, Const, Plan, RetryPolicy, Sequence
from orchestrator.journal.records import shard_of
from orchestrator.transport.messages import Work
from tests.contract.branch_ledger import prepare

RUN = "c0ffee" + 26 * "0"
SHARDS = 2
SHARD = shard_of(RUN, SHARDS)


NAMES = {"one": "ann", "two": "bob"}

PLAN = Plan(
    saga="s",
    version=1,
    parameters={},
    body=Sequence(
        (
            Atomic(
                name="atomic",
                branches=tuple(
                    Call(
                        name=step,
                        service="ledger",
                        participant="debit",
                        queue="q",
                        args={"amount": Const(30), "name": Const(name)},
                        timeout_s=10.0,
                        retry=RetryPolicy(),
                        barrier=True,
                        branch="database",
                    )
                    for step, name in NAMES.items()
                ),
                timeout_s=20.0,
            ),
        )
    ),
)
"""A group of two branches."""


def orphan(epoch: int = 1, step: str = "debit") -> Work:
    """The prepare of a run that no journal knows."""
    return prepare(run=RUN, shard=SHARD, epoch=epoch, step=step)
