"""Guards of the product: what each one promises, how it is taken away, and the tests that must then fail.

A removal patches the product for a whole test process, before anything is collected: see ``plugin``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.mutation import branch_removals, removals
from tests.mutation.group_guards import GROUP_GUARDS

VARIABLE = "SAGA_WITHOUT_GUARD"


class Guard(NamedTuple):
    """Something that keeps a promise, and who notices when it is gone."""

    what: str
    remove: Callable[[], None]
    witnesses: Sequence[str]


_ORDER = "tests/unit/coordinator/test_order.py::"
_TAKEOVER = "tests/unit/coordinator/test_takeover.py::"
_STALE = "tests/unit/kernel/test_stale.py::"
_RETRY = "tests/unit/kernel/test_retry.py::"
_LAUNCH = "tests/contract/test_journal_clients.py::TestLaunch::"
_START = "tests/contract/test_transport_safety.py::"
_FENCE = "tests/contract/test_journal.py::TestFence::"
_BARRIER = "tests/contract/test_barrier.py::"
_FAULTS = "tests/unit/kernel/test_faults.py::"
_LOOP = "tests/unit/coordinator/test_loop.py::"
_CRASH = "tests/crash/test_crashes.py::test_a_process_may_die_at_every_kind_of_point"

_BRANCHES = "tests/contract/test_branches.py::"
_BROKEN = "tests/contract/test_branch_faults.py::"
_RACES = "tests/contract/test_branch_races.py::"
_SWEEP = "tests/contract/test_sweep.py::"

GUARDS: dict[str, Guard] = {
    "branch_tombstone": Guard(
        "an abort that comes before its prepare leaves a tombstone",
        branch_removals.branch_tombstone,
        [f"{_BRANCHES}TestAbort::test_q4_a_late_prepare_is_rejected_both_times[postgres]"],
    ),
    "branch_is_looked_for": Guard(
        "a prepare that comes again finds its branch",
        branch_removals.branch_is_looked_for,
        [f"{_BROKEN}TestAWorkerDies::test_p2_after_prepare_before_the_vote[postgres]"],
    ),
    "proof_row": Guard(
        "an unknown branch is told by its proof row",
        branch_removals.proof_row,
        [f"{_BROKEN}TestSomebodyElseEndsIt::test_p6_o1_rolled_back_before_the_commit[mariadb]"],
    ),
    "proof_row_at_abort": Guard(
        "a branch that somebody has committed is told by its proof row",
        branch_removals.proof_row_at_abort,
        [f"{_BROKEN}TestSomebodyElseEndsIt::test_p8_o2_committed_before_the_abort[postgres]"],
    ),
    "asking_after_prepare": Guard(
        "a vote waits until it is known what came of PREPARE",
        branch_removals.asking_after_prepare,
        [f"{_BROKEN}TestAConnectionIsCut::test_p4_in_prepare[postgres-after]"],
    ),
    "confirm_row": Guard(
        "a try is confirmed once, and not cancelled then",
        branch_removals.confirm_row,
        [
            f"{_BRANCHES}TestCommit::test_q1_c6_again_is_acknowledged_again[try sqlite]",
            f"{_BRANCHES}TestAbort::test_after_a_commit_it_says_so[try sqlite]",
        ],
    ),
    "read_only_detection": Guard(
        "a branch that has written nothing isn't prepared",
        branch_removals.read_only_detection,
        [
            f"{_RACES}TestReadOnly::test_p14_leaves_nothing_prepared[postgres-look]",
            f"{_RACES}TestReadOnly::test_p14_leaves_nothing_prepared[mariadb-look]",
        ],
    ),
    "safety_age": Guard(
        "the sweep leaves young branches alone",
        branch_removals.safety_age,
        [f"{_SWEEP}TestTheSweep::test_r1_a_young_branch_is_left_alone[postgres]"],
    ),
    "older_journal": Guard(
        "a journal older than a branch presumes nothing",
        branch_removals.older_journal,
        [
            f"{_SWEEP}TestTheSweep::test_c11_a_journal_older_than_the_branch_presumes_nothing[postgres]"
        ],
    ),
    "lost_record": Guard(
        "of a branch without a record nothing is presumed",
        branch_removals.lost_record,
        [
            f"{_SWEEP}TestTheSweep::test_c11_a_forgotten_run_whose_sibling_has_committed_is_left_to_people[postgres]"
        ],
    ),
    "barrier_insert": Guard(
        "an action claims its effect's row before it acts",
        removals.barrier_insert,
        [
            f"{_BARRIER}TestDo::test_a_duplicate_gets_the_stored_reply_and_does_nothing[sqlite]",
            _CRASH,
        ],
    ),
    "tombstone": Guard(
        "an undo that comes first leaves a tombstone",
        removals.tombstone,
        [f"{_BARRIER}TestUndo::test_before_its_action_it_leaves_a_tombstone[sqlite]"],
    ),
    "epoch_check": Guard(
        "a participant refuses a coordinator that has been succeeded",
        removals.epoch_check,
        [f"{_BARRIER}TestEpoch::test_an_older_one_is_refused[sqlite-False-do]"],
    ),
    "primary_key_fence": Guard(
        "the journal's primary key and tenure let one writer write",
        removals.primary_key_fence,
        [
            f"{_LOOP}test_a_paused_coordinator_that_wakes_up_can_append_nothing",
            f"{_FENCE}test_a_paused_writer_can_append_nothing_after_its_successor_began[sqlite]",
            _CRASH,
        ],
    ),
    "deadline_watchdog": Guard(
        "a dispatched command has a deadline",
        removals.deadline_watchdog,
        [f"{_LOOP}test_a_lost_message_is_sent_again_after_its_deadline"],
    ),
    "signature_check": Guard(
        "an envelope's signature is checked",
        removals.signature_check,
        ["tests/unit/transport/test_envelope.py::test_no_changed_byte_goes_unnoticed"],
    ),
    "size_limit_of_messages": Guard(
        "messages have a size limit",
        removals.size_limit_of_messages,
        ["tests/unit/transport/test_envelope.py::test_the_limit_counts_bytes_both_ways"],
    ),
    "size_limit_of_results": Guard(
        "results have a size limit",
        removals.size_limit_of_results,
        ["tests/integration/test_options.py::TestLimits::test_payload_limit_of_a_service"],
    ),
    "commit_before_publish": Guard(
        "events are committed before what follows from them is dispatched",
        removals.commit_before_publish,
        [f"{_ORDER}test_nothing_is_dispatched_that_the_journal_does_not_imply"],
    ),
    "acknowledge_after_commit": Guard(
        "answers are acknowledged once the journal has them",
        removals.acknowledge_after_commit,
        [f"{_LOOP}test_answers_are_acknowledged_only_when_the_journal_has_them"],
    ),
    "reading_back": Guard(
        "a commit without an answer is read back",
        removals.reading_back,
        [f"{_ORDER}test_a_commit_that_may_have_failed_is_not_taken_for_done"],
    ),
    "dispatch_of_what_is_left": Guard(
        "a successor dispatches what its predecessor didn't",
        removals.dispatch_of_what_is_left,
        [f"{_LOOP}test_a_successor_dispatches_what_was_never_dispatched", _CRASH],
    ),
    "waiting_messages_first": Guard(
        "what waits in a gained shard's inbox is taken at once",
        removals.waiting_messages_first,
        [f"{_TAKEOVER}test_a_cancel_that_waited_for_a_writer_comes_before_the_runs_next_answers"],
    ),
    "duplicate_filter": Guard(
        "a reply to nothing outstanding changes nothing",
        removals.duplicate_filter,
        [f"{_FAULTS}test_s10_nothing_runs_again_after_the_end"],
    ),
    "match_on_kind": Guard(
        "an action's reply isn't its undo's",
        removals.match_on_kind,
        [f"{_FAULTS}test_s12_a_redelivered_forward_reply_is_not_taken_for_the_undos"],
    ),
    "match_on_attempt": Guard(
        "an earlier attempt's reply isn't the present one's",
        removals.match_on_attempt,
        [f"{_STALE}test_a_reply_to_an_earlier_attempt_changes_nothing[do-failed]"],
    ),
    "unknown_is_not_failed": Guard(
        "what may have happened is undone",
        removals.unknown_is_not_failed,
        [f"{_FAULTS}test_s2_an_action_whose_outcome_is_unknown_is_undone"],
    ),
    "undo_has_to_succeed": Guard(
        "compensated is said only of undos that succeeded",
        removals.undo_has_to_succeed,
        [
            f"{_FAULTS}test_s3_an_undo_that_keeps_failing_stops_only_itself",
            f"{_FAULTS}test_s6_an_undo_that_nobody_has_registered_is_stuck_by_name",
        ],
    ),
    "attempts_are_counted": Guard(
        "attempts have an end",
        removals.attempts_are_counted,
        [f"{_RETRY}test_attempts_are_counted_and_the_next_is_due_after_the_wait"],
    ),
    "legal_transitions": Guard(
        "an event that doesn't fit the state is a defect",
        removals.legal_transitions,
        ["tests/unit/kernel/test_evolve.py"],
    ),
    "plan_is_of_its_version": Guard(
        "a changed plan needs a new version",
        removals.plan_is_of_its_version,
        [f"{_LAUNCH}test_a_changed_plan_under_an_old_version_is_refused[sqlite]"],
    ),
    "broker_keeps_what_it_gets": Guard(
        "a broker that evicts is refused",
        removals.broker_keeps_what_it_gets,
        [f"{_START}test_an_evicting_redis_is_refused_with_the_way_out"],
    ),
    **{name: Guard(*parts) for name, parts in GROUP_GUARDS.items()},
}


def remove_named() -> None:
    """Take away the guard that the environment names, if it names one."""
    name = os.environ.get(VARIABLE)
    if name:
        GUARDS[name].remove()
