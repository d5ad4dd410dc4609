"""One call of ``saga``: its global options, and the parts it needs, each made when first asked for.

``saga list`` must not pay for Celery, nor ``saga --help`` for a database: the composition root is imported
only by the commands that use it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import typer

from orchestrator.cli.output import Output

if TYPE_CHECKING:
    from orchestrator.cli.probes import Probe
    from orchestrator.client import Client
    from orchestrator.definition.saga import Saga
    from orchestrator.journal.port import Journal
    from orchestrator.settings import Settings
    from orchestrator.views.redaction import Curtains
    from orchestrator.wiring import Definitions


class GlobalOptions(msgspec.Struct, frozen=True):
    """What stands before or behind any command."""

    journal: str | None = None
    broker: str | None = None
    apps: tuple[str, ...] = ()
    json: bool = False


class Backend(Protocol):
    """Where the parts come from: the composition root, or a test's own."""

    def settings(self, options: GlobalOptions) -> Settings:
        """The settings in force."""
        ...

    def journal(self, settings: Settings) -> Journal:
        """The journal, opened."""
        ...

    def definitions(self, apps: Sequence[str]) -> Definitions:
        """The sagas and services of the apps."""
        ...

    def client(
        self, settings: Settings, journal: Journal, sagas: Mapping[str, Saga[..., Any]]
    ) -> Client:
        """A client that wakes the coordinator."""
        ...

    def probe(self, settings: Settings) -> Probe:
        """What the doctor asks."""
        ...

    def now(self) -> float:
        """The time, in epoch seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Wired:
    """The real parts."""

    def settings(self, options: GlobalOptions) -> Settings:
        """Read from the options, the environment and the settings file."""
        from orchestrator.settings import load  # noqa: PLC0415 - start-up time

        return load(
            journal_url=options.journal, broker_url=options.broker, apps=options.apps or None
        )

    def journal(self, settings: Settings) -> Journal:
        """The SQL journal of the settings."""
        # Past the composition root, which imports Celery: it would double the time of `saga list`.
        from orchestrator.journal.sql import SqlJournal  # noqa: PLC0415 - start-up time

        return SqlJournal(settings.journal_url)

    def definitions(self, apps: Sequence[str]) -> Definitions:
        """Import the apps."""
        from orchestrator.wiring import definitions  # noqa: PLC0415 - start-up time

        return definitions(apps)

    def client(
        self, settings: Settings, journal: Journal, sagas: Mapping[str, Saga[..., Any]]
    ) -> Client:
        """A client over the real broker."""
        from orchestrator.wiring import client  # noqa: PLC0415 - start-up time

        return client(settings, journal, sagas)

    def probe(self, settings: Settings) -> Probe:
        """Asks the real servers."""
        from orchestrator.cli.probes import RealProbe  # noqa: PLC0415 - start-up time

        return RealProbe(settings)

    def now(self) -> float:
        """The machine's clock."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Really sleep."""
        time.sleep(seconds)


class Invocation:
    """The context of one command."""

    def __init__(self, options: GlobalOptions, backend: Backend) -> None:
        self.options = options
        self.backend = backend
        self.out = Output(json=options.json)

    @cached_property
    def settings(self) -> Settings:
        """The settings in force. Raises ``SettingsError``."""
        return self.backend.settings(self.options)

    @cached_property
    def journal(self) -> Journal:
        """The journal. Raises ``SettingsError``, later ``JournalUnavailableError``."""
        return self.backend.journal(self.settings)

    @cached_property
    def curtains(self) -> Curtains:
        """What hides, in everything that is shown, the values that are declared redacted."""
        from orchestrator.views.redaction import Curtains  # noqa: PLC0415 - start-up time

        return Curtains(self.journal)

    @cached_property
    def definitions(self) -> Definitions:
        """What the apps define; imports them."""
        return self.backend.definitions(self.settings.apps)

    @cached_property
    def client(self) -> Client:
        """A client that knows runs but no sagas: the apps aren't imported for it."""
        return self.backend.client(self.settings, self.journal, {})

    @cached_property
    def launcher(self) -> Client:
        """A client that knows the apps' sagas."""
        return self.backend.client(self.settings, self.journal, self.definitions.sagas)

    @property
    def actor(self) -> str:
        """Who operations are recorded for."""
        return self.settings.actor

    def now(self) -> float:
        """The time, in epoch seconds."""
        return self.backend.now()

    def close(self) -> None:
        """Let go of what was opened."""
        journal = self.__dict__.get("journal")
        if journal is not None:
            journal.close()


def invocation(context: typer.Context) -> Invocation:
    """The invocation of a command."""
    assert isinstance(context.obj, Invocation), "the root callback makes it"
    return context.obj
