"""Settings: from the environment (``SAGA_...``), else from a TOML file, else defaults fit for trying things out.

The file is the one ``SAGA_CONFIG`` names, else ``saga.toml`` in the working folder. Read by ``wiring`` and the CLI
only.
"""

from __future__ import annotations

import getpass
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orchestrator.errors import SettingsError

CONFIG_VARIABLE = "SAGA_CONFIG"
DEFAULT_FILE = "saga.toml"
_KEY_MIN = 32


def _actor() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"uid {os.getuid()}@{socket.gethostname()}"


def _checked_key(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value()) < _KEY_MIN:
        raise ValueError(f"at least {_KEY_MIN} characters")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Role = Literal["viewer", "operator", "admin"]
TwoPeopleOperation = Literal[
    "retry",
    "skip",
    "resolve",
    "forget",
    "acknowledge",
    "compensate",
    "cancel",
    "pause",
    "resume",
    "budget",
    "force",
    "bulk",
]


class TokenSettings(_Part):
    """An API token of the console; ``saga console token`` makes one."""

    name: str = Field(min_length=1, max_length=100)
    """Recorded as the actor of what is done with it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the token, in hex. The token itself is kept nowhere."""
    role: Role
    sagas: tuple[str, ...] = ()
    """Limited to these; empty for all."""
    expires: datetime | None = None


class GrantSettings(_Part):
    """What a person or group that the proxy names may do."""

    role: Role
    user: str = ""
    group: str = ""
    sagas: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_somebody(self) -> GrantSettings:
        if bool(self.user) == bool(self.group):
            raise ValueError("name either a user or a group")
        return self


class ProxySettings(_Part):
    """A proxy in front of the console that signs people in and names them in headers."""

    networks: tuple[str, ...]
    """Where it speaks from, as 10.1.2.0/24; its headers mean nothing from anywhere else."""
    user_header: str = "X-Forwarded-User"
    groups_header: str = "X-Forwarded-Groups"
    grants: tuple[GrantSettings, ...] = ()


class ConsoleSettings(_Part):
    """The console: who may use it, and how. Without tokens and proxy it doesn't start."""

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=1, le=65_535)
    tokens: tuple[TokenSettings, ...] = ()
    proxy: ProxySettings | None = None
    session_key: SecretStr | None = None
    """Signs session cookies; without it sessions end when the process does."""
    session_s: float = Field(default=12 * 3600.0, gt=0)
    https: bool = False
    """Reached over HTTPS, also where a proxy ends it: cookies are sent over nothing else."""
    viewers_see_values: bool = False
    """Show inputs, arguments, results and tracebacks to viewers, too."""
    redacted_shown_to: Literal["nobody", "admin", "operator"] = "nobody"
    """Who is shown even what types declare redacted, with all roles above."""
    mutations_per_min: int = Field(default=120, ge=1)
    """For each principal."""

    @field_validator("session_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked_key(value)


class IncidentSettings(_Part):
    """Who is told of incidents. The coordinator's log always is."""

    webhook_url: str = ""
    """Where notices are posted, as https://...; redirects aren't followed."""
    webhook_key: SecretStr | None = None
    """Signs them; the receiver has the same."""
    webhook_private: bool = False
    """Let the webhook be at a private, loopback or link-local address."""
    saga: str = ""
    """A saga of the apps that is launched with each notice; it takes one parameter, a ``Notice``."""
    every_s: float = Field(default=3600.0, gt=0)
    """At most one notice of a cluster in this time, from all coordinators together."""
    look_s: float = Field(default=5.0, gt=0)
    """How often a coordinator looks for incidents that nobody was told of."""

    @field_validator("webhook_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked_key(value)

    @model_validator(mode="after")
    def _signed(self) -> IncidentSettings:
        if self.webhook_url and self.webhook_key is None:
            raise ValueError("webhook_key: set it too, so that the receiver can tell who speaks")
        if self.webhook_key is not None and not self.webhook_url:
            raise ValueError("webhook_url: there is a webhook_key for it, but no address")
        return self


class SecondPersonSettings(_Part):
    """What takes two people: one who asks for it, and another who approves it. Coordinators see to it."""

    operations: tuple[TwoPeopleOperation, ...] = ()
    """``force`` is a resolve against a group's decision, ``bulk`` anything that is done to many runs at once."""
    sagas: tuple[str, ...] = ()
    """Only for runs of these; empty for all."""
    approvers: tuple[str, ...] = ()
    """Actors who may be the second person; empty for anybody else than the first."""
    expires_s: float = Field(default=24 * 3600.0, gt=0, le=30 * 24 * 3600.0)
    """How long a request waits."""

    @model_validator(mode="after")
    def _of_something(self) -> SecondPersonSettings:
        if not self.operations and (self.sagas or self.approvers):
            raise ValueError("operations: name those that take two people")
        return self


class MetricsSettings(_Part):
    """Where metrics are served for Prometheus; nowhere unless a port is set. The console has its own, at /metrics."""

    host: str = "127.0.0.1"
    """Reachable without credentials: an address of an inner network at most."""
    coordinator_port: int | None = Field(default=None, ge=0, le=65_535)
    """0 takes a free one, told in the log."""
    worker_port: int | None = Field(default=None, ge=0, le=65_535)


class Settings(BaseSettings):
    """Everything that can be set. Times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="SAGA_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    journal_url: str = "sqlite:///saga-journal.db"
    """The event store: ``postgresql+psycopg://...`` in production, ``sqlite:///...`` embedded."""
    broker_url: str = "redis://localhost:6379/0"
    """Redis, Valkey or RabbitMQ."""
    namespace: str = Field(default="saga", pattern=r"^[a-z0-9_-]+$")
    """Keeps several installations on one broker apart."""
    apps: Annotated[tuple[str, ...], NoDecode] = ()
    """Modules that define sagas and participants, imported at start."""
    signing_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Keys for signing messages: the first one signs, all of them are accepted."""
    shards: int = Field(default=8, ge=1, le=1024)
    """How many shards ``saga db upgrade`` makes; fixed after that."""
    lease_s: float = Field(default=10.0, gt=0)
    """How long a killed coordinator's shards wait for a new writer."""
    poll_s: float = Field(default=0.25, gt=0)
    """How often an idle coordinator looks for work when nobody pokes it."""
    window: int = Field(default=1_000, ge=1)
    """The most commands under way to one queue."""
    bundle: int = Field(default=100, ge=1)
    """The most commands in one message; 1 switches bundling off."""
    bundle_work_s: float = Field(default=0.02, gt=0)
    """Aim for this much work in one message; and let no answer wait longer than this for others of its message."""
    gather_share: float = Field(default=0.05, ge=0, le=1)
    """While many answers are awaited, let them gather for this share of the time until all are there. A larger one
    costs less per run, in writes and in messages; a smaller one ends each run sooner."""
    sweep_s: float = Field(default=30.0, gt=0)
    """How often a worker looks for prepared branches of atomic groups that are in doubt."""
    in_doubt_s: float = Field(default=120.0, gt=0)
    """How old they have to be for that: longer than any atomic group takes to decide."""
    payload_limit_bytes: int = Field(default=1024 * 1024, ge=1024)
    """The largest input, argument, result or signal, encoded."""
    archive_folder: str = "saga-archive"
    """Where ``saga archive`` writes, unless it is told otherwise with ``--to``."""
    actor: str = Field(default_factory=_actor)
    """Who operations from here are recorded for."""
    log_level: str = "INFO"
    """Python's logging level."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or a JSON object each; run, step and attempt are in both."""
    metrics: MetricsSettings = MetricsSettings()
    """In the environment ``SAGA_METRICS__COORDINATOR_PORT`` and its kin."""
    console: ConsoleSettings = ConsoleSettings()
    """In the environment ``SAGA_CONSOLE__PORT`` and its kin, lists as JSON."""
    incidents: IncidentSettings = IncidentSettings()
    """In the environment ``SAGA_INCIDENTS__WEBHOOK_URL`` and its kin."""
    second_person: SecondPersonSettings = SecondPersonSettings()
    """In the environment ``SAGA_SECOND_PERSON__OPERATIONS`` and its kin, lists as JSON."""

    @field_validator("apps", "signing_keys", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """A comma-separated text, as an environment variable has it, or a list."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before file."""
        path = config_file()
        file = (TomlConfigSettingsSource(settings_cls, path),) if path else ()
        return (init_settings, env_settings, *file)


def load(**overrides: Any) -> Settings:
    """The settings in force. Raises ``SettingsError`` that names what is wrong."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        ]
        raise SettingsError("; ".join(lines)) from error


def config_file() -> Path | None:
    """The TOML file settings are read from. Raises ``SettingsError`` if the one named isn't there."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            raise SettingsError(f"{CONFIG_VARIABLE} names {named}, which isn't a file")
        return path
    path = Path(DEFAULT_FILE)
    return path if path.is_file() else None
