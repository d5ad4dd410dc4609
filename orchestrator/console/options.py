"""What the console is handed: how it is reached, who may use it, its limits."""

from __future__ import annotations

import msgspec

from orchestrator.console.access import Proxy, Role, Token, check_networks
from orchestrator.errors import SettingsError


class ConsoleOptions(msgspec.Struct, frozen=True):
    """Everything that can be set. Times in seconds."""

    tokens: tuple[Token, ...] = ()
    proxy: Proxy | None = None
    insecure_dev: bool = False
    """Whoever asks from this machine is an administrator; nobody else may ask."""
    session_key: bytes = b""
    """Signs session cookies; empty for one of this process's own, so that sessions end with it."""
    session_s: float = 12 * 3600.0
    https: bool = False
    """Reached over HTTPS, also where a proxy ends it: cookies are sent over nothing else."""
    viewers_see_values: bool = False
    """Show inputs, arguments, results and tracebacks to viewers, too."""
    redacted_shown_to: Role | None = None
    """The least role that is shown even what types declare redacted; None for nobody. Never viewers."""
    mutations_per_min: int = 120
    """For each principal, and as many at once."""
    streams_max: int = 200
    """Live connections at one time."""
    look_every_s: float = 0.5
    """How often a live connection looks for news."""
    wait_s: float = 3.0
    """How long an action waits for a coordinator to take it."""

    archive_folder: str = ""
    """Where ``saga archive`` put runs, to show them from there; empty for nowhere."""

    def check(self) -> None:
        """Raise ``SettingsError`` for options with which nobody, or anybody, could come in."""
        if self.insecure_dev and (self.tokens or self.proxy is not None):
            raise SettingsError("insecure-dev lets everybody in: use it without tokens and proxy")
        if self.redacted_shown_to is Role.VIEWER:
            raise SettingsError("redacted_shown_to: viewers never see what is redacted")
        if self.proxy is not None:
            check_networks(self.proxy)
        if not (self.insecure_dev or self.tokens or self.proxy is not None):
            raise SettingsError(
                "nobody could sign in: make a token with `saga console token`, name a proxy in console.proxy, or,"
                " on your own machine, use --insecure-dev"
            )
        names = [token.name for token in self.tokens]
        if len(set(names)) < len(names):
            raise SettingsError("console.tokens: two tokens have the same name")
