"""Cutting into envelopes."""

from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.parts import answers_by_shard, seal_in_parts
from tests.unit.transport.work_samples import answer, work

small = Envelopes(limit_bytes=2_000)


def test_what_fits_goes_in_one() -> None:
    assert len(seal_in_parts(small.seal_work, [work()] * 3)) == 1


def test_what_does_not_fit_goes_in_several_in_order() -> None:
    commands = [work(number=number, data="x" * 300) for number in range(17)]
    parts = seal_in_parts(small.seal_work, commands)

    assert len(parts) > 2
    assert [each for part in parts for each in small.open_work(part)] == commands


def test_answers_are_sorted_by_shard() -> None:
    sealed = answers_by_shard(small, [answer(1), answer(2), answer(1)])

    assert {shard: small.open_answers(data) for shard, data in sealed} == {
        1: (answer(1), answer(1)),
        2: (answer(2),),
    }


def test_an_answer_that_cannot_be_sent_is_lost_and_its_neighbours_are_not() -> None:
    bad = [answer(result="x" * 3_000), answer(result=object())]
    [(_, first), *rest] = answers_by_shard(small, [answer(), *bad, answer()])
    opened = [
        each for data in (first, *(data for _, data in rest)) for each in small.open_answers(data)
    ]

    assert [each.outcome for each in opened] == ["succeeded", "lost", "lost", "succeeded"]
    assert "the limit is 2000" in str(opened[1].failure)
    assert "JSON" in str(opened[2].failure)
