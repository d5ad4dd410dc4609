"""`saga console`: it starts for nobody it shouldn't, and makes tokens that its settings accept."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import wiring
from orchestrator.console import Role
from orchestrator.console.access import bearer
from orchestrator.console.options import ConsoleOptions
from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, load
from tests.unit.cli.stage import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def options_of(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> ConsoleOptions:
    file = folder / "saga.toml"
    file.write_text(text)
    monkeypatch.setenv("SAGA_CONFIG", str(file))
    return wiring.console_options(load())


def test_a_token_made_is_a_token_accepted(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("token", "--name", 'ann "the desk"', "--role", "operator", "--saga", "shop")
    made = stage.run("console", *arguments)
    secret, _, lines = made.stdout.partition("\n")
    assert secret not in lines
    options = options_of(tmp_path, monkeypatch, lines)
    who = bearer(options.tokens, secret, stage.clock)
    assert (who.name, who.role, who.sagas) == ('ann "the desk"', Role.OPERATOR, ("shop",))
    assert who.expires_at == stage.clock + 90 * 86_400


def test_a_token_as_json_and_for_ever(stage: Stage) -> None:
    made = stage.json("console", "token", "--name", "bot", "--days", "0")
    kept = made["settings"]
    assert kept["sha256"] == hashlib.sha256(made["token"].encode()).hexdigest()
    assert (kept["role"], kept["expires"]) == ("viewer", None)
    assert stage.run("console", "token", "--name", "x", "--role", "king").exit_code == 2


def test_it_does_not_start_for_nobody_or_for_everybody(stage: Stage) -> None:
    closed = stage.run("console")
    assert (closed.exit_code, "nobody could sign in" in closed.stderr) == (2, True)
    wide = stage.run("console", "--insecure-dev", "--host", "0.0.0.0")
    assert (wide.exit_code, "this machine alone" in wide.stderr) == (2, True)


def test_every_setting_reaches_the_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_of(
        tmp_path,
        monkeypatch,
        """
        [console]
        https = true
        session_key = "0123456789abcdef0123456789abcdef"
        session_s = 60
        viewers_see_values = true
        mutations_per_min = 7
        [console.proxy]
        networks = ["10.0.0.0/8"]
        user_header = "X-User"
        groups_header = "X-Groups"
        grants = [{ group = "ops", role = "operator", sagas = ["shop"] }]
        """,
    )
    assert options.proxy is not None
    assert (options.proxy.networks, options.proxy.user_header) == (("10.0.0.0/8",), "X-User")
    assert options.proxy.groups_header == "X-Groups"
    [grant] = options.proxy.grants
    assert (grant.group, grant.role, grant.sagas) == ("ops", Role.OPERATOR, ("shop",))
    assert options.session_key == b"0123456789abcdef0123456789abcdef"
    assert (options.https, options.session_s, options.viewers_see_values) == (True, 60, True)
    assert options.mutations_per_min == 7


def test_settings_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    token: dict[str, Any] = {"name": "env", "sha256": "0" * 64, "role": "viewer"}
    monkeypatch.setenv("SAGA_CONSOLE__TOKENS", json.dumps([token]))
    monkeypatch.setenv("SAGA_CONSOLE__PORT", "9000")
    settings = load()
    assert settings.console.port == 9000
    assert settings.console.tokens[0].name == "env"


@pytest.mark.parametrize(
    "text",
    [
        "[console]\nsession_key = 'short'",
        "[console]\nprot = 1",
        "[[console.tokens]]\nname = 'a'\nsha256 = 'zz'\nrole = 'viewer'",
        "[console.proxy]\nnetworks = []\ngrants = [{ role = 'viewer' }]",
    ],
)
def test_settings_that_can_not_be_meant_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(SettingsError):
        options_of(tmp_path, monkeypatch, text)


def test_a_stack_hands_its_console_settings_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`saga dev` writes a settings file of its own; the console of the stack reads that one."""
    from orchestrator.cli.stack import _toml

    given = Settings(
        console={  # type: ignore[arg-type]
            "tokens": [
                {
                    "name": "a",
                    "sha256": "0" * 64,
                    "role": "admin",
                    "expires": "2030-01-01T00:00:00Z",
                }
            ],
            "session_key": "0123456789abcdef0123456789abcdef",
        }
    )
    file = tmp_path / "made.toml"
    file.write_text("".join(_toml(given)))
    monkeypatch.setenv("SAGA_CONFIG", str(file))
    assert load().console == given.console
