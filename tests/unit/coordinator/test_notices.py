"""Telling people: once per cluster and interval whoever looks, again when it is over, and never of what is taken on."""

from __future__ import annotations

import logging

import pytest

from orchestrator.coordinator.notices import LogChannel, NoticeOptions, Notifier, SagaChannel
from orchestrator.definition.notice import Notice
from orchestrator.definition.saga import saga
from orchestrator.errors import JournalUnavailableError, NoticeError, SettingsError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import messages as msg
from orchestrator.participant.service import Service
from tests.unit.cli.stage import Stage
from tests.waiting import eventually

EVERY_S = 3_600.0


class Told:
    """A channel that keeps what it is given, or fails."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.error: Exception | None = None

    def send(self, notice: Notice) -> None:
        self.notices.append(notice)
        if self.error is not None:
            raise self.error


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.stuck("aaaa1111")
    made.stuck("bbbb2222")
    return made


def looking(stage: Stage, *channels: Told | LogChannel | SagaChannel) -> Notifier:
    return Notifier(stage.store, channels, NoticeOptions(EVERY_S), stage.now)


def test_one_notice_for_a_cluster_whoever_looks_and_after_a_restart(stage: Stage) -> None:
    one, other = Told(), Told()
    assert (looking(stage, one).look(), looking(stage, other).look()) == (1, 0)
    stage.clock += EVERY_S - 1
    stage.stuck("cccc3333")
    stage.clock = 1_000_000.0 + EVERY_S
    (notice,) = one.notices
    assert (notice.saga, notice.step, notice.direction) == ("shop", "reserve", "undo")
    assert (notice.runs, notice.acknowledged, notice.message) == (2, 0, "the till is broken")
    assert looking(stage, other).look() == 0


def test_it_comes_again_when_the_interval_is_over(stage: Stage) -> None:
    told = Told()
    notifier = looking(stage, told)
    notifier.look()
    stage.clock += EVERY_S - 1
    assert notifier.look() == 0
    stage.clock += 1
    assert notifier.look() == 1
    assert len({notice.id for notice in told.notices}) == 2


def test_nobody_is_told_of_what_somebody_has_taken_on(stage: Stage) -> None:
    for run in ("aaaa1111", "bbbb2222"):
        stage.store.send(run, msg.Acknowledge(at=stage.clock, actor="ann"))
        stage.turns(2)
    assert looking(stage, Told()).look() == 0
    stage.stuck("cccc3333")
    told = Told()
    assert looking(stage, told).look() == 1
    assert told.notices[0].acknowledged == 2


def test_a_channel_that_fails_is_counted_and_the_others_are_used(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    broken, told = Told(), Told()
    broken.error = NoticeError("the webhook answered 500")
    notifier = looking(stage, broken, told)
    notifier.look()
    assert len(told.notices) == 1
    assert notifier.counts == {"failed: Told": 1, "sent: Told": 1}
    assert "nobody was told of incident" in caplog.text
    assert notifier.look() == 0, "at most one, also if it failed"


def test_the_log_names_the_cluster(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        looking(stage, LogChannel()).look()
    (cluster,) = stage.store.clusters().clusters
    assert f"incident {cluster.cluster}: 2 runs of shop need a person at reserve" in caplog.text


def test_a_clock_that_was_set_back_does_not_silence_it_for_long(stage: Stage) -> None:
    looking(stage, Told()).look()
    stage.clock -= 10 * EVERY_S
    assert looking(stage, Told()).look() == 1


desk = Service("notice_desk")


@desk.participant(read_only=True)
def page_somebody(notice: Notice) -> str:
    return notice.cluster


@saga(version=1)
def tell_somebody(notice: Notice) -> str:
    return page_somebody(notice)


@saga(version=1)
def tell_two(notice: Notice, whom: str) -> str:
    return page_somebody(notice)


def test_a_saga_of_the_users_is_launched_once(stage: Stage) -> None:
    poked: list[int] = []
    channel = SagaChannel(stage.store, tell_somebody, poked.append)
    notifier = looking(stage, channel)
    notifier.look()
    notifier.look()
    (launched,) = stage.store.runs(RunFilter(saga="tell_somebody")).runs
    (cluster,) = stage.store.clusters().clusters
    assert (launched.tags, len(poked)) == ({"cluster": cluster.cluster}, 1)
    own = Notice(
        "other", 1.0, "c", "tell_somebody", "a", "do", "m", "E", "f", 1, 1, 0, 1.0, 1.0, "r"
    )
    channel.send(own)
    assert len(stage.store.runs(RunFilter(saga="tell_somebody")).runs) == 1


def test_a_saga_that_takes_something_else_is_refused() -> None:
    with pytest.raises(SettingsError, match="one parameter"):
        SagaChannel(MemoryJournal(), tell_two)


def test_a_journal_that_is_away_is_looked_at_again() -> None:
    class Away(MemoryJournal):
        looks = 0

        def noticed(self) -> dict[str, float]:
            self.looks += 1
            if self.looks == 1:
                raise JournalUnavailableError("away")
            if self.looks == 2:
                raise RuntimeError("a defect")
            return super().noticed()

    journal = Away()
    notifier = Notifier(journal, [Told()], NoticeOptions(look_s=0.001), lambda: 1.0)
    notifier.start()
    eventually(lambda: journal.looks > 3, 30)
    notifier.stop()
    assert notifier.counts["looks failed"] == 2
