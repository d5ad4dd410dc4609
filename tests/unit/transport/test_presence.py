"""Who works: what workers answer is read with care, and only our own namespace's are shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orchestrator.transport.presence import WorkerState, present, worker_states


def told(name: str, namespace: str = "shop", **changed: Any) -> dict[str, Any]:
    said = {"pid": 7, "processes": 2, "queues": ["q"], "participants": ["a.b"], "version": "1"}
    return {name: {"name": name, "namespace": namespace, **said, **changed}}


def asked(*answers: dict[str, Any]) -> list[WorkerState]:
    app: Any = SimpleNamespace(control=SimpleNamespace(broadcast=lambda *_, **__: list(answers)))
    return worker_states(app, "shop")


def test_workers_of_our_namespace_are_listed_by_name() -> None:
    found = asked(told("two"), told("one", pid=9), told("one"), told("theirs", "other"))
    assert [(state.name, state.pid) for state in found] == [("one", 7), ("one", 9), ("two", 7)]
    assert found[0].participants == ("a.b",)


def test_what_is_no_answer_of_ours_is_left_out() -> None:
    unknown = {"old": {"error": "No such method"}}
    assert asked(unknown, told("odd", queues=3), {"none": None}, told("one"))[0].name == "one"
    assert asked() == []


def test_a_celery_worker_that_is_not_ours_says_nothing() -> None:
    state: Any = SimpleNamespace(app=SimpleNamespace(tasks={}))
    assert present(state) is None
