"""Telling people of incidents: at most once per cluster and interval, whoever of the coordinators looks first.

A row in the journal is claimed before anything is sent, so a coordinator that dies in between has told nobody until the
interval is over; nobody is ever told twice. All of it happens beside the runs, in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from orchestrator.definition.notice import Notice
from orchestrator.definition.saga import Saga
from orchestrator.errors import (
    JournalUnavailableError,
    NoticeError,
    OutcomeUnknownError,
    SagaError,
    SchemaError,
    SettingsError,
)
from orchestrator.journal.incident import Cluster
from orchestrator.journal.port import Journal, LaunchRequest
from orchestrator.kernel.messages import Launch

_log = logging.getLogger(__name__)
_PAGE = 100


class Channel(Protocol):
    """A way to reach people."""

    def send(self, notice: Notice) -> None:
        """Tell them. Raises ``NoticeError`` when that can't be done."""
        ...


class LogChannel:
    """The coordinator's own log."""

    def send(self, notice: Notice) -> None:
        """Write a line."""
        _log.warning(
            "incident %s: %d runs of %s need a person at %s (%s), %d taken on: %s",
            notice.cluster,
            notice.runs,
            notice.saga,
            notice.step,
            notice.direction,
            notice.acknowledged,
            " ".join(f"{notice.error} {notice.message}".split()),
        )


class SagaChannel:
    """A saga of the user's, launched with the notice as its one argument: its participants tell whom they like."""

    def __init__(
        self,
        journal: Journal,
        saga: Saga[..., Any],
        poke: Callable[[int], None] = lambda _shard: None,
    ) -> None:
        if len(saga.parameters) != 1:
            raise SettingsError(f"the saga {saga.name!r} has to take one parameter, a `Notice`")
        self._journal = journal
        self._saga = saga
        self._poke = poke

    def send(self, notice: Notice) -> None:
        """Launch it, durably; of its own incidents it isn't told."""
        saga = self._saga
        if notice.saga == saga.name:
            return
        try:
            message = Launch(
                at=notice.at,
                run_id=notice.id,
                saga=saga.name,
                version=saga.version,
                plan=saga.plan_hash,
                input=saga.encode_input(notice),
                key=notice.id,
                tags={"cluster": notice.cluster},
            )
            (launched,) = self._journal.launch([LaunchRequest(message, saga.plan)])
        except SagaError as error:
            raise NoticeError(f"the saga {saga.name!r} can't be launched: {error}") from error
        self._poke(launched.shard)


class NoticeOptions(msgspec.Struct, frozen=True):
    """How often. Times are in seconds."""

    every_s: float = 3_600.0
    """At most one notice of a cluster in this time; while somebody is needed, one comes again after it."""
    look_s: float = 5.0
    """How often the journal is looked at."""


def notice_of(one: Cluster, notice_id: str, at: float) -> Notice:
    """What is told of a cluster."""
    return Notice(
        id=notice_id,
        at=at,
        cluster=one.cluster,
        saga=one.saga,
        step=one.step,
        direction=one.kind,
        message=one.message,
        error=one.error,
        frame=one.frame,
        runs=one.runs,
        incidents=one.incidents,
        acknowledged=one.acked,
        first=one.first,
        last=one.last,
        run=one.newest,
    )


class Notifier:
    """Looks for incidents that nobody was told of. ``run`` belongs to one thread.

    ``shown`` takes from a cluster what isn't to be told.
    """

    def __init__(
        self,
        journal: Journal,
        channels: Sequence[Channel],
        options: NoticeOptions,
        clock: Callable[[], float],
        shown: Callable[[Cluster], Cluster] = lambda cluster: cluster,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._journal = journal
        self._channels = channels
        self._options = options
        self._clock = clock
        self._shown = shown
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look from now on, in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="saga-notices", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop looking, and wait for a notice that is being sent, up to ``timeout_s``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run(self) -> None:
        """Look again and again until ``stop``."""
        while not self._stopping.is_set():
            try:
                self.look()
            except (JournalUnavailableError, OutcomeUnknownError, SchemaError) as error:
                self.counts["looks failed"] += 1
                _log.warning("incidents can't be looked for now: %s", error)
            except Exception:  # noqa: BLE001 - a defect in one notice must not end all later ones
                self.counts["looks failed"] += 1
                _log.exception("looking for incidents failed")
            self._stopping.wait(self._options.look_s)

    def look(self) -> int:
        """Tell people of what is due; returns the number of notices."""
        told = 0
        noticed = self._journal.noticed()
        for cluster in self._untaken():
            now, at = self._clock(), noticed.get(cluster.cluster)
            if at is not None and abs(now - at) < self._options.every_s:
                continue
            if not self._journal.claim_notice(cluster.cluster, now, self._options.every_s):
                continue
            self._tell(notice_of(self._shown(cluster), uuid.uuid4().hex, now))
            told += 1
            if self._stopping.is_set():
                break
        return told

    def _untaken(self) -> Iterator[Cluster]:
        """Clusters with an incident that nobody has taken on: they come first."""
        cursor = None
        while True:
            page = self._journal.clusters((), cursor, _PAGE)
            for cluster in page.clusters:
                if cluster.acked == cluster.incidents:
                    return
                yield cluster
            cursor = page.cursor
            if cursor is None:
                return

    def _tell(self, notice: Notice) -> None:
        for channel in self._channels:
            name = type(channel).__name__
            try:
                channel.send(notice)
            except NoticeError as error:
                self.counts[f"failed: {name}"] += 1
                _log.error("nobody was told of incident %s: %s", notice.cluster, error)
            else:
                self.counts[f"sent: {name}"] += 1
