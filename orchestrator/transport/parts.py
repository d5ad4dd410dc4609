"""Cutting what is to be sent into envelopes: by shard, and into smaller ones where one would be too large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from orchestrator.errors import EnvelopeError
from orchestrator.kernel.events import Failure
from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.messages import Answer

T = TypeVar("T")


def seal_in_parts(seal: Callable[[Sequence[T]], str], items: Sequence[T]) -> list[str]:
    """Seal these as one envelope, or as several if one would be over the limit.

    Commands that share a message are independent, so a large neighbour must not keep a small one from being sent.
    Raises ``EnvelopeError`` when a single one is over the limit or can't be encoded.
    """
    try:
        return [seal(items)]
    except EnvelopeError as error:
        if error.reason != "oversized" or len(items) < 2:
            raise
    middle = len(items) // 2
    return seal_in_parts(seal, items[:middle]) + seal_in_parts(seal, items[middle:])


def answers_by_shard(envelopes: Envelopes, answers: Iterable[Answer]) -> list[tuple[int, str]]:
    """Return sealed answers with the shard each envelope is for.

    An answer that can't be sent is sent as ``lost``, with the reason: to its command's sender it makes no difference
    whether the worker or its answer went missing.
    """
    shards: dict[int, list[Answer]] = {}
    for answer in answers:
        shards.setdefault(answer.shard, []).append(answer)
    return [
        (shard, sealed) for shard, group in shards.items() for sealed in _seal_all(envelopes, group)
    ]


def _seal_all(envelopes: Envelopes, answers: Sequence[Answer]) -> list[str]:
    try:
        return seal_in_parts(envelopes.seal_answers, answers)
    except EnvelopeError:
        sendable = [_sendable(envelopes, answer) for answer in answers]
        return seal_in_parts(envelopes.seal_answers, sendable)


def _sendable(envelopes: Envelopes, answer: Answer) -> Answer:
    try:
        envelopes.seal_answers([answer])
    except EnvelopeError as error:
        failure = Failure(type="EnvelopeError", message=f"the answer can't be sent: {error}")
        return msgspec.structs.replace(answer, outcome="lost", result=None, failure=failure)
    return answer
