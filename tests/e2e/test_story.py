"""The story of ``make story`` in small: stuck runs found, understood, repaired and audited in a browser alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.wiring import definitions
from tests.e2e.delivery import FOLDER
from tests.e2e.story import Stage
from tests.integration.browsing import browser, embedded_desk


def test_stuck_runs_are_found_understood_repaired_and_audited_in_the_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    taken: list[str] = []
    made = definitions(["tests.e2e.delivery"])
    with embedded_desk(tmp_path, made) as (it, url), browser(url) as chromium:
        chromium.sign_in()
        chromium.errors()  # it has a wish about the form for signing in
        chromium.look_as(1280, "light")
        Stage(it.client, it.journal, tmp_path, chromium, taken.append, within_s=30).told(30)
        assert chromium.errors() == []
    assert len(taken) == 9
