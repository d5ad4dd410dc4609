"""Reading what people type: ages, times, tags, JSON. A wrong one is a usage error that says what is right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def age_s(text: str, option: str) -> float:
    """An age such as ``90s``, ``5m``, ``1h30m`` or ``2d``, in seconds."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(
            f"{text!r} isn't an age such as 90s, 5m, 2h or 1d", param_hint=option
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def moment(text: str, now: float, option: str) -> float:
    """A time in epoch seconds: an age (``5m`` means five minutes ago), ISO 8601, or epoch seconds."""
    if _PART.match(text) and not text[-1].isdigit():
        return now - age_s(text, option)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither an age (5m), nor a time (2025-01-31T12:00:00), nor epoch seconds",
            param_hint=option,
        ) from None
    return (found if found.tzinfo else found.astimezone()).astimezone(UTC).timestamp()


def tags(pairs: Iterable[str]) -> dict[str, str]:
    """Tags given as ``name=value``."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{pair!r} isn't name=value", param_hint="--tag")
        found[name] = value
    return found


def commands(pairs: Iterable[str]) -> dict[str, list[str]]:
    """Commands given as ``name=command line``."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, _, line = pair.partition("=")
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise typer.BadParameter(f"{line!r}: {error}", param_hint="--also") from error
        if not re.fullmatch(r"[\w-]+", name) or not words:
            raise typer.BadParameter(f"{pair!r} isn't NAME=COMMAND", param_hint="--also")
        if found.setdefault(name, words) is not words:
            raise typer.BadParameter(f"two commands are called {name!r}", param_hint="--also")
    return found


def json_value(text: str, option: str) -> Any:
    """A JSON value. Plain words have to be quoted as JSON wants them."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(
            f"{text!r} isn't JSON ({error}); a text needs quotes inside quotes: '\"text\"'",
            param_hint=option,
        ) from None


def json_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object."""
    value = json_value(text, what)
    if not isinstance(value, dict):
        raise typer.BadParameter(f"a JSON object is needed, not {value!r}", param_hint=what)
    return value


def given_input(text: str | None, stdin: Any) -> dict[str, Any]:
    """A run's input: an object on the command line, in a file, or, for ``-``, on stdin; nothing is ``{}``."""
    if text is None:
        return {}
    if text == "-":
        return json_object(stdin.read(), "INPUT")
    if text.lstrip().startswith("{"):
        return json_object(text, "INPUT")
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise typer.BadParameter(
            f"{text!r} is neither a JSON object nor a file that can be read ({reason})",
            param_hint="INPUT",
        ) from None
    return json_object(content, f"INPUT {path}")
