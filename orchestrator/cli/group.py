"""The root command group: global options anywhere on the line, errors of the package as one line."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from orchestrator.cli.exits import Exit, exit_code
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.errors import SagaError

WITH_VALUE = ("--journal", "--broker", "--app", "--config")
FLAGS = ("--json",)


class SagaGroup(TyperGroup):
    """``saga`` itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take global options from wherever they stand: ``saga list --json`` is ``saga --json list``."""
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error of the package ends it with its exit code, never with a traceback."""
        try:
            return super().invoke(ctx)
        except SagaError as error:
            code = exit_code(error)
            out = (
                ctx.obj.out if isinstance(ctx.obj, Invocation) else Output(json=ctx.params["json"])
            )
            out.error(error, code)
            raise typer.Exit(code) from error
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
        finally:
            if isinstance(ctx.obj, Invocation):
                ctx.obj.close()


def hoisted(args: list[str]) -> list[str]:
    """The arguments with the global options first; what follows ``--`` stays as it is."""
    first: list[str] = []
    rest: list[str] = []
    given = iter(args)
    for arg in given:
        if arg == "--":
            rest += [arg, *given]
        elif arg in FLAGS:
            first.append(arg)
        elif arg in WITH_VALUE:
            first.append(arg)
            value = next(given, None)
            first += [] if value is None else [value]
        elif arg.startswith(tuple(f"{name}=" for name in WITH_VALUE)):
            first.append(arg)
        else:
            rest.append(arg)
    return first + rest
