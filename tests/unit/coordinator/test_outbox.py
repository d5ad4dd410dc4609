"""What goes out together, what goes out alone, and what has to wait."""

from __future__ import annotations

from orchestrator.coordinator.outbox import NOWHERE, BundleOptions, Lane, Outbox, Outgoing
from orchestrator.kernel.commands import Execute
from orchestrator.transport.messages import Answer

NOW = 1_000.0


def outgoing(participant: str, number: int, queue: str = "q") -> Outgoing:
    command = Execute(
        step="a",
        kind="do",
        attempt=1,
        round=0,
        service="svc",
        participant=participant,
        queue=queue,
        args={},
        result=None,
        due=NOW,
        timeout_s=30.0,
    )
    return Outgoing(0, 1, f"{participant}-{number}", "s", command, {})


def answer(participant: str, took_s: float, worker: str = "w:1") -> Answer:
    return Answer("r", 0, 1, "a", "do", 1, "succeeded", participant, took_s=took_s, worker=worker)


class Desk:
    """An outbox, and what left it."""

    def __init__(self, options: BundleOptions | None = None) -> None:
        self.outbox = Outbox(options or BundleOptions())
        self.gone: list[tuple[Outgoing, Lane]] = []

    def put(self, participant: str, count: int) -> None:
        for number in range(count):
            self.outbox.put(outgoing(participant, number))

    def go(self, now: float = NOW) -> list[list[str]]:
        """Let out what may go; the participants of each message."""
        bundles = list(self.outbox.bundles(now, lambda _: True))
        self.gone += [(out, lane) for _, outs, lane in bundles for out in outs]
        return [[work.participant for work in bundle.work] for bundle, _, _ in bundles]

    def answered(self, took_s: float, worker: str = "w:1", now: float = NOW) -> None:
        """The oldest one under way is answered."""
        out, lane = self.gone.pop(0)
        self.outbox.learn(answer(out.command.participant, took_s, worker), lane, now)
        lane.settled()

    def teach(self, participant: str, took_s: float, workers: int = 2) -> None:
        """Have a participant's duration and the worker's processes known."""
        for number in range(workers):
            self.put(participant, 1)
            self.go()
            self.answered(took_s, f"w:{number}")


def test_commands_of_unknown_duration_travel_alone_and_a_few_at_a_time() -> None:
    desk = Desk()
    desk.put("a", 40)
    assert desk.go() == [["a"]] * 16
    assert desk.go() == []


def test_waiting_commands_share_messages_as_soon_as_they_are_known_to_be_short() -> None:
    desk = Desk()
    desk.put("a", 116)
    desk.go()
    desk.answered(0.001)
    assert [len(bundle) for bundle in desk.go()] == [20] * 5


def test_a_message_is_shared_out_over_free_processes() -> None:
    desk = Desk()
    desk.teach("a", 0.001)
    desk.put("a", 12)
    assert [len(bundle) for bundle in desk.go()] == [6, 6]


def test_long_ones_queue_at_the_broker_no_more_than_keeps_the_processes_busy() -> None:
    desk = Desk()
    desk.teach("slow", 0.5)
    desk.put("slow", 50)
    desk.go()
    assert len(desk.gone) == 4  # twice as many while it isn't known if there are more processes
    while desk.gone:
        desk.answered(0.5, "w:1", NOW + 5)
    desk.outbox.learn(answer("slow", 0.5, "w:0"), NOWHERE, NOW + 5)
    assert len(desk.go(NOW + 5)) == 3


def test_a_short_one_overtakes_the_backlog_of_long_ones() -> None:
    desk = Desk()
    desk.teach("slow", 0.5)
    desk.teach("fast", 0.001)
    desk.put("slow", 50)
    desk.go()
    desk.put("fast", 1)
    assert desk.go() == [["fast"]]


def test_one_that_turns_long_changes_lanes() -> None:
    desk = Desk()
    desk.teach("a", 0.001)
    desk.put("a", 2)
    desk.go()
    desk.put("a", 500)
    for _ in range(2):
        desk.answered(5.0)
    assert {len(bundle) for bundle in desk.go()} == {1}


def test_silence_widens_what_may_be_under_way_up_to_the_window() -> None:
    desk = Desk(BundleOptions(window=100))
    desk.put("a", 500)
    assert len(desk.go()) == 16
    assert len(desk.go(NOW + 1.5)) == 16
    assert len(desk.go(NOW + 60)) == 68
    assert desk.go(NOW + 600) == []


def test_late_answers_are_no_silence() -> None:
    """Their commands have expired and count against no lane; the backlog they come from must not be made longer."""
    desk = Desk()
    desk.teach("a", 0.05)
    desk.put("a", 2_000)
    first = sum(map(len, desk.go()))
    for second in range(1, 9):
        desk.outbox.learn(answer("a", 0.05), NOWHERE, NOW + second)
        assert desk.go(NOW + second) == []
    assert sum(map(len, desk.go(NOW + 12))) > first


def test_more_processes_are_found_out() -> None:
    desk = Desk()
    desk.teach("slow", 0.5, workers=1)
    desk.put("slow", 100)
    now, most = NOW, 0
    for turn in range(60):
        now += 0.1
        desk.go(now)
        most = max(most, len(desk.gone))
        desk.answered(0.5, f"w:{min(turn, 7)}", now)
    assert most >= 8


def test_what_nobody_wants_any_more_does_not_go_out() -> None:
    desk = Desk()
    desk.put("a", 3)
    bundles = list(desk.outbox.bundles(NOW, lambda out: out.run_id != "a-1"))
    assert [out.run_id for _, outs, _ in bundles for out in outs] == ["a-0", "a-2"]
    assert desk.outbox.under_way() == 2


def test_answers_of_an_earlier_tenure_count_against_nothing() -> None:
    desk = Desk()
    desk.outbox.learn(answer("a", 0.001), NOWHERE, NOW)
    NOWHERE.settled()
    desk.put("a", 3)
    assert sum(map(len, desk.go())) == 3
