"""An option whose value may be left out: ``--wait`` and ``--wait 30``, which typer can't say by itself."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

FOREVER = 1e18
"""Stands for ``--wait`` without seconds."""
_OPTION = "--wait"


class WaitCommand(TyperCommand):
    """A command whose ``--wait`` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare ``--wait`` its value."""
        return super().parse_args(ctx, completed(args))


def completed(args: list[str]) -> list[str]:
    """The arguments, with a value for a ``--wait`` that has none."""
    found: list[str] = []
    for position, arg in enumerate(args):
        if arg == "--":
            return found + args[position:]
        following = args[position + 1] if position + 1 < len(args) else ""
        alone = arg == _OPTION and not _is_number(following)
        found.append(f"{_OPTION}={FOREVER:g}" if alone else arg)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
