"""What commands print: tables for people, JSON for programs.

Data goes to stdout, everything else to stderr, so that a pipe gets data alone. JSON has every field, also
those at their defaults: its shape doesn't depend on the values.
"""

from __future__ import annotations

import math
import os
import sys
from enum import Enum
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 1_000
"""Lines that go to a pipe are as long as they need to be."""


class Output:
    """Where a command's words go."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._out = _console(sys.stdout, stderr=False)
        self._err = _console(sys.stderr, stderr=True)

    @property
    def console(self) -> Console:
        """Stdout, for what has to be drawn again and again."""
        return self._out

    @property
    def errors(self) -> Console:
        """Stderr, for progress."""
        return self._err

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return sys.stdin.isatty() and self._err.is_terminal and not self.json

    @property
    def ascii_only(self) -> bool:
        """Whether marks have to be plain letters."""
        return self._out.options.ascii_only

    def data(self, value: Any) -> None:
        """One JSON document."""
        text = msgspec.json.format(msgspec.json.encode(plain(value)), indent=2).decode()
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def line(self, value: Any) -> None:
        """One line of JSON, of several."""
        sys.stdout.write(msgspec.json.encode(plain(value)).decode() + "\n")
        sys.stdout.flush()

    def raw(self, text: str) -> None:
        """Text as it is, such as a drawing or SQL."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def show(self, *renderables: RenderableType) -> None:
        """Something to read."""
        for renderable in renderables:
            self._out.print(renderable)

    def note(self, text: str, style: str = "") -> None:
        """A remark beside the data."""
        self._err.print(Text(text, style=style), soft_wrap=True)

    def error(self, error: BaseException, code: int) -> None:
        """One clear line about what went wrong; as JSON where JSON was asked for."""
        message = " ".join(str(error).split()) or type(error).__name__
        if self.json:
            fault = {"type": type(error).__name__, "message": message, "exit_code": code}
            sys.stderr.write(msgspec.json.encode({"error": fault}).decode() + "\n")
            return
        self._err.print(Text.assemble(("error: ", "bold red"), (message, "red")), soft_wrap=True)


def table(*columns: str, right: tuple[str, ...] = (), wrap: str = "") -> Table:
    """A table without lines; ``right`` names right-aligned columns, ``wrap`` the one that takes the rest."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        if column == wrap:
            made.add_column(column, overflow="fold", ratio=1)
        else:
            made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return made


def plain(value: Any) -> Any:
    """JSON builtins of structs, every field included; a float that JSON can't say is null."""
    match value:
        case msgspec.Struct():
            config = value.__struct_config__
            tagged = {config.tag_field: config.tag} if config.tag_field else {}
            fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            return {**tagged, **fields}
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case Enum():
            return value.value
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _console(stream: Any, *, stderr: bool) -> Console:
    wide = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, width=wide, emoji=False)
