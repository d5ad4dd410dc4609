"""The guards of atomic groups in the kernel and the coordinator: what each promises, and who notices its removal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.mutation import group_removals as without

_GROUP = "tests/unit/kernel/test_two_phase.py::"
_LAST = "tests/unit/kernel/test_two_phase_last.py::"
_FAULTS = "tests/unit/kernel/test_two_phase_faults.py::"
_MESSAGES = "tests/unit/kernel/test_two_phase_messages.py::"
_COORDINATOR = "tests/unit/coordinator/test_groups.py::"

GROUP_GUARDS: dict[str, tuple[str, Callable[[], None], Sequence[str]]] = {
    "votes_before_decision": (
        "a group is decided only by all its votes",
        without.votes_before_decision,
        [f"{_GROUP}test_a_decision_without_all_votes_is_a_defect"],
    ),
    "presumed_abort": (
        "no decision on record means abort",
        without.presumed_abort,
        [
            f"{_FAULTS}test_c3_all_yes_and_no_decision_on_record_is_an_abort",
            f"{_COORDINATOR}test_a_successor_takes_an_undecided_group_back_and_tries_it_again",
        ],
    ),
    "group_timeout": (
        "a group without a decision in time is taken back",
        without.group_timeout,
        [f"{_FAULTS}test_c12_a_group_that_timed_out_says_who_did_not_vote_and_is_tried_again"],
    ),
    "recall": (
        "who may have committed alone is asked before the others are told",
        without.recall,
        [f"{_LAST}test_a_recalled_last_that_had_committed_decides_for_commit"],
    ),
    "attempts_go_on": (
        "the acknowledgement of one attempt of a group is not that of the next",
        without.attempts_go_on,
        [f"{_MESSAGES}test_q4_the_acknowledgement_of_one_round_is_not_that_of_the_next"],
    ),
    "new_names": (
        "a group that is tried again has new names",
        without.new_names,
        [
            f"{_GROUP}test_an_error_takes_everything_back_and_the_group_is_tried_again_under_new_names"
        ],
    ),
    "stuck_decision": (
        "a decision that can't be told is seen",
        without.stuck_decision,
        [
            f"{_FAULTS}test_p12_a_participant_that_is_gone_is_stuck_visibly_and_told_for_ever[commit]"
        ],
    ),
    "heuristic_outcome": (
        "a branch that went against the decision is an incident",
        without.heuristic_outcome,
        [
            f"{_FAULTS}test_p6_o1_a_branch_rolled_back_against_a_commit_is_an_incident_that_says_what_others_did",
            f"{_MESSAGES}test_q8_a_commit_for_a_branch_that_never_voted_is_an_incident",
        ],
    ),
    "try_before_cancel": (
        "a try without a barrier is cancelled only after its answer",
        without.try_before_cancel,
        [f"{_GROUP}test_a_try_without_a_barrier_is_cancelled_only_after_its_answer"],
    ),
    "group_before_its_undo": (
        "nothing before a group is undone while the group is open",
        without.group_before_its_undo,
        [f"{_GROUP}test_a_decided_group_is_committed_to_the_end_and_undone_from_there"],
    ),
    "last_as_pivot": (
        "a last that is the pivot isn't interrupted while it may commit",
        without.last_as_pivot,
        [f"{_LAST}test_a_last_that_is_the_pivot_cannot_be_interrupted_while_it_may_commit"],
    ),
    "forget_after_saying": (
        "a heuristic outcome is forgotten only after it was resolved",
        without.forget_after_saying,
        [f"{_MESSAGES}test_o4_forgetting_comes_after_saying_what_became_of_it_and_is_on_record"],
    ),
    "lone_vote": (
        "a vote that decides nothing needs no write of its own",
        without.lone_vote,
        [
            f"{_COORDINATOR}test_a_transfer_takes_one_write_before_its_second_phase_and_one_at_its_end"
        ],
    ),
    "decision_is_written": (
        "a decision is written before anybody is told",
        without.decision_is_written,
        [
            f"{_COORDINATOR}test_a_transfer_takes_one_write_before_its_second_phase_and_one_at_its_end"
        ],
    ),
}
