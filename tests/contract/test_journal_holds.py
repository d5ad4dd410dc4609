"""Any journal keeps holds: one at a time of a saga or a service, with what the log has to say of each."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.journal.audit import audit
from orchestrator.journal.hold import Hold
from orchestrator.journal.port import Journal, OperationFilter
from orchestrator.journal.records import shard_of
from orchestrator.kernel.events import BranchRuled
from orchestrator.kernel.messages import Noted
from orchestrator.views.replay import row_of
from tests.contract.journal_samples import SHARDS, run_in, started, write

BANK = Hold("h1", "service", "bank", 5.0, "ann", "charges\0 twice")
ORDERS = Hold("h2", "saga", "place_order", 6.0, "bob", undos=True)
ENDED = replace(BANK, released_at=9.0, released_by="eve", release_reason="mended")


def test_one_of_each_is_in_force_and_ended_ones_are_kept(journal: Journal) -> None:
    assert journal.holds() == []
    assert journal.place_hold(BANK)
    assert not journal.place_hold(BANK)
    assert not journal.place_hold(replace(BANK, id="h3"))
    assert journal.place_hold(ORDERS)
    assert journal.holds() == [ORDERS, BANK]
    assert journal.release_hold(ENDED)
    assert not journal.release_hold(replace(ENDED, released_by="ann"))
    assert journal.holds() == [ORDERS]
    assert journal.holds(in_force=False) == [ORDERS, ENDED]
    assert journal.holds(1, in_force=False) == [ORDERS]
    assert journal.place_hold(replace(BANK, id="h3"))
    assert not journal.place_hold(replace(ENDED, name="shop"))  # its id is known


def test_what_the_log_has_to_say_waits_in_the_inbox_once(journal: Journal) -> None:
    journal.place_hold(BANK)
    journal.place_hold(replace(BANK, id="h3"))
    journal.release_hold(ENDED)
    journal.release_hold(ENDED)
    items = journal.inbox(range(SHARDS), {}, 10)
    assert [item.message for item in items] == [
        Noted(at=5.0, actor="ann", event=BANK.placed()),
        Noted(at=9.0, actor="eve", event=ENDED.released()),
    ]
    assert {(item.run_id, item.shard) for item in items} == {
        ("service:bank", shard_of("service:bank", SHARDS))
    }


def test_an_audit_finds_holds_and_a_rebuild_is_not_led_astray(journal: Journal) -> None:
    run = run_in(0)
    started(journal, run)
    for hold in (BANK, ORDERS):
        shard = shard_of(hold.subject, SHARDS)
        tenure = journal.begin_tenure(shard, "c2", 6.0)
        journal.append([write(tenure, [(hold.subject, hold.placed())], [])])
    page = audit(journal)
    assert [(one.operation, one.run_id, one.saga, one.actor) for one in page.entries] == [
        ("hold", "saga:place_order", "place_order", "bob"),
        ("hold", "service:bank", "", "ann"),
    ]
    assert page.intact
    theirs = audit(journal, OperationFilter(sagas=("place_order",), operation="hold"))
    assert [one.run_id for one in theirs.entries] == ["saga:place_order"]
    assert audit(journal, OperationFilter(saga="other")).entries == ()
    assert list(journal.verify()) == []
    assert journal.rebuild(row_of) == 1


def test_what_is_noted_of_no_run_waits_in_the_inbox_and_is_audited(journal: Journal) -> None:
    ruled = BranchRuled(
        at=7.0, actor="ann", gid="g1", service="bank", step="debit", kind="commit", reason="seen"
    )
    noted = Noted(at=7.0, actor="ann", event=ruled)
    journal.note("branch:g1", noted)
    [item] = journal.inbox(range(SHARDS), {}, 10)
    shard = shard_of("branch:g1", SHARDS)
    assert (item.message, item.run_id, item.shard) == (noted, "branch:g1", shard)
    tenure = journal.begin_tenure(shard, "c2", 6.0)
    journal.append([write(tenure, [("branch:g1", ruled)], [])])
    [one] = audit(journal, OperationFilter(operation="decide")).entries
    assert (one.run_id, one.saga, one.step, one.is_on_run) == ("branch:g1", "", "debit", False)
    assert audit(journal, OperationFilter(sagas=("place_order",))).entries == ()
