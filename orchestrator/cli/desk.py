"""`saga console`: serve the operator's desk, and make tokens for it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated

import typer

from orchestrator.cli.invocation import invocation
from orchestrator.cli.serving import start_logging
from orchestrator.errors import SettingsError

_GRACE_S = 3

console = typer.Typer(help="The web console and HTTP API.", invoke_without_command=True)

Role = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]


@console.callback()
def serve(
    context: typer.Context,
    *,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Where to listen; 127.0.0.1 if nothing else is set."),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65_535, help="8700.")] = None,
    insecure_dev: Annotated[
        bool,
        typer.Option(
            "--insecure-dev",
            help="Without credentials: everybody on this machine is an administrator.",
        ),
    ] = False,
) -> None:
    """Serve the web console and the HTTP API until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    call = invocation(context)
    settings = call.settings
    start_logging(settings)
    from orchestrator import wiring  # noqa: PLC0415 - start-up time

    address = host or settings.console.host
    app = wiring.console_app(
        settings,
        call.journal,
        call.definitions.sagas,
        insecure_dev=insecure_dev,
        services=call.definitions.services,
    )
    from orchestrator.console.access import is_loopback  # noqa: PLC0415 - needs the extra

    if insecure_dev and not is_loopback(address):
        raise SettingsError(f"--insecure-dev listens on this machine alone, not on {address}")
    wiring.check_journal(settings)
    import uvicorn  # noqa: PLC0415 - needs the extra

    number = port or settings.console.port
    call.out.note(f"console on http://{address}:{number}/", "dim")
    uvicorn.run(
        app,
        host=address,
        port=number,
        log_level=settings.log_level.lower(),
        proxy_headers=False,  # who speaks is decided by the real address: see console.proxy
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,  # live streams don't end by themselves
    )


@console.command("token")
def token(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", help="Recorded as the actor of what it does.")],
    role: Role = "viewer",
    saga: Annotated[
        list[str] | None, typer.Option("--saga", help="Limit it to this saga; repeatable.")
    ] = None,
    days: Annotated[
        float, typer.Option("--days", min=0, help="How long it is good for; 0 for ever.")
    ] = 90,
) -> None:
    """Make an API token: shown once, with the lines for the settings file that let it in."""
    call = invocation(context)
    from orchestrator.console.access import Role as Known  # noqa: PLC0415 - start-up time
    from orchestrator.console.access import digest, new_token  # noqa: PLC0415

    if role not in set(Known):
        roles = ", ".join(Known)
        raise typer.BadParameter(f"{role!r} is no role; there are {roles}", param_hint="--role")
    secret = new_token()
    expires = None if not days else math.ceil(call.now() + days * 86_400)
    until = None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat()
    entry: dict[str, object] = {
        "name": name,
        "sha256": digest(secret),
        "role": role,
        "sagas": saga or [],
    }
    if call.out.json:
        call.out.data({"token": secret, "settings": {**entry, "expires": until}})
        return
    call.out.note("the token, shown this once:", "dim")
    call.out.raw(secret)
    call.out.note("for the settings file of the console:", "dim")
    call.out.raw(_toml(entry, until))


def _toml(entry: dict[str, object], until: str | None) -> str:
    lines = ["", "[[console.tokens]]"]
    lines += [f"{name} = {_quoted(value)}" for name, value in entry.items() if value != []]
    if until is not None:
        lines.append(f"expires = {until}")
    return "\n".join(lines)


def _quoted(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
