"""The row that lists, waiting clients and recovery live on."""

from __future__ import annotations

from orchestrator.definition.plan import Const, Parallel, RetryPolicy, Sleep, Wait
from orchestrator.kernel import messages as msg
from orchestrator.kernel.summary import RunSummary, summarize
from tests.unit.kernel.scenario import Play, call, plan


def row(play: Play) -> RunSummary:
    """The run's row, on shard 3."""
    return summarize(play.run, 3, play.now)


def test_a_run_on_its_way() -> None:
    branches = Parallel((call("a"), Wait("w", "go"), Sleep("z", Const(5)), call("b", retry=BACK)))
    play = Play(plan(branches, call("c")))
    play.reply("b", "failed")
    found = row(play)
    assert (found.run_id, found.shard, found.saga, found.version) == ("r", 3, "buy", 1)
    assert found.plan == play.program.hash
    assert (found.status, found.open, found.reason) == ("running", True, "")
    assert (found.launched_at, found.updated_at, found.ended_at) == (100.0, 100.0, None)
    assert found.steps == ("w", "z", "b")
    assert found.parked == ()


def test_a_run_that_is_stuck_says_where_and_why() -> None:
    play = Play(plan(Parallel((call("a"), call("b")))))
    play.reply("a", "unregistered")
    play.reply("b", "unregistered")
    found = row(play)
    assert (found.status, found.open) == ("stuck", True)
    assert found.parked == found.steps == ("a", "b")
    assert found.reason.startswith("a: no worker of service 'shop'")
    assert "; b: no worker" in found.reason


def test_a_run_that_turned_back() -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    play.send(msg.Cancel(at=play.now, reason="changed their mind"))
    assert (row(play).status, row(play).reason) == ("compensating", "changed their mind")
    play.reply("b")
    play.reply("a", "failed")
    assert (row(play).status, row(play).reason) == ("stuck", "a: the disk is full")
    play.send(msg.Retry(at=play.now))
    play.now = 130.0
    play.reply("a")
    found = row(play)
    assert (found.status, found.open, found.reason) == ("compensated", False, "changed their mind")
    assert (found.ended_at, found.steps) == (130.0, ())


def test_a_completed_run_is_open_until_its_callbacks_are_heard() -> None:
    hear = call("hear", undo=False)
    play = Play(plan(call("a"), result=Const(7), callbacks={"on_completed": (hear,)}))
    play.reply("a")
    assert (row(play).status, row(play).result, row(play).open) == ("completed", 7, True)
    play.reply("@on_completed")
    assert not row(play).open


BACK = RetryPolicy(attempts=3)
