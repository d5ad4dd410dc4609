"""What is kept is found once, and not for ever."""

from orchestrator.console.kept import Kept


def test_it_is_found_once_within_its_time() -> None:
    now = [100.0]
    asked: list[str] = []
    kept = Kept[int](3.0, lambda: now[0])

    def find() -> int:
        asked.append("")
        return len(asked)

    assert [kept.get("a", find), kept.get("a", find), kept.get("b", find)] == [1, 1, 2]
    now[0] += 3
    assert kept.get("a", find) == 3


def test_it_does_not_grow_for_ever() -> None:
    kept = Kept[int](3.0, lambda: 0.0)
    for number in range(1_000):
        kept.get(number, lambda: 0)
    assert len(kept._found) <= 100
