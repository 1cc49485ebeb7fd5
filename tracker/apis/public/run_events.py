"""What happened to a run: `Run.events`, and `Api.events`, which tells it of deleted runs too."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tracker.apis.public.failures import NoSuchRun, comm_errors
from tracker.query.event_kinds import check_kinds
from tracker.query.instants import moment_us
from tracker.query.readable_parts import StartOver
from tracker.query.run_events import run_events
from tracker.query.snapshot import Snapshot

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient

__all__ = ["ApiEventCalls", "EventCalls"]

_Time = datetime | str | float | None


class EventCalls:
    """Part of `Run`."""

    id: str
    client: RetryingClient

    if TYPE_CHECKING:

        @property
        def entity(self) -> str: ...
        @property
        def project(self) -> str: ...

    @comm_errors
    def events(
        self, kinds: Collection[str] | None = None, since: _Time = None, until: _Time = None
    ) -> list[dict[str, Any]]:
        """What happened to the run, oldest first: who (`user`, `host`, `writer`), when (`time`), what (`kind`, `text`).

        `changes`: what was set, changed or removed, each with its `path` and the values `before` and `after`. `by`
        tells processes that write the run (`run`) from others (`edit`) and from what follows for a reader (`reader`).
        `kinds`: only these (tracker.query.event_kinds.EVENT_KINDS); None: all but `rows` and `heartbeat`. `since`,
        `until`: datetime, ISO 8601 text or seconds; since <= time < until. No point of the history is read.

        Raises:
            CommError: could not find run; `.exc` is a ValueError.
            UsageError: an unknown kind, or no time.
        """
        return _read(self.client, (self.entity, self.project, self.id), kinds, since, until)


class ApiEventCalls:
    """Part of `Api`."""

    if TYPE_CHECKING:

        @property
        def client(self) -> RetryingClient: ...
        def _run_path(self, path: str) -> tuple[str, str, str]: ...

    @comm_errors
    def events(
        self, path: str, kinds: Collection[str] | None = None, since: _Time = None, until: _Time = None
    ) -> list[dict[str, Any]]:
        """As `Run.events`, also of a run that was deleted; `path` as for `run`."""
        return _read(self.client, self._run_path(path), kinds, since, until)


def _read(
    client: RetryingClient, ref: tuple[str, str, str], kinds: Collection[str] | None, since: _Time, until: _Time
) -> list[dict[str, Any]]:
    wanted = check_kinds(kinds)
    since_us = None if since is None else moment_us(since, "since")
    until_us = None if until is None else moment_us(until, "until")
    entity, project, run_id = ref

    def again() -> Snapshot:
        snapshot = client.snapshot(entity, project, run_id)
        if run_id not in snapshot.runs:
            raise NoSuchRun(f"could not find run {entity}/{project}/{run_id}")
        return snapshot

    def read(snapshot: Snapshot) -> list[dict[str, Any]]:
        return [event.to_dict() for event in run_events(snapshot, run_id, wanted, since_us, until_us)]

    try:
        return client.read(read, again(), again)
    except StartOver as exc:
        raise exc.error from exc
