"""`RunControl`: what the public `Run` shows and asks of the process that writes the run."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracker.errors import NotFound, UsageError
from tracker.query.run_writers import own_facts
from tracker.query.runs import load_runs, visible_files
from tracker.storage.clock import wall_us
from tracker.storage.events import KIND_ALERT, KIND_WRITER
from tracker.storage.stops import request_stop

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.query.run_files import RunFiles
    from tracker.query.runs import RunRecord
    from tracker.query.snapshot import Snapshot
    from tracker.storage.port import Store

__all__ = ["RunControl", "stop_runs"]


class RunControl:
    """Part of `Run`, which loads the record."""

    id: str
    client: RetryingClient

    if TYPE_CHECKING:

        def load(self, force: bool = False) -> RunRecord: ...
        def _open(self) -> Snapshot: ...

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Alerts of the run, oldest first: `id`, `title`, `text`, `level`, `time` (unix seconds)."""
        found = self.load().live.get(KIND_ALERT, {})
        alerts = [{"id": path, **value} for path, value in found.items() if isinstance(value, dict)]
        return sorted(alerts, key=lambda alert: (alert.get("time", 0), alert["id"]))

    def stop(self) -> None:
        """Ask every process that writes the run to stop: within about 15 seconds each is interrupted as by Ctrl-C.

        The run then ends as `killed`. A process that does not reach the store does not hear of it.

        Raises:
            UsageError: nobody writes the run any more, or the run is shown as of a time gone by.
            StorageUnavailable: whether the request counts is not known; asking again is safe.
        """
        self.client.refuse_the_past()
        stop_runs(self._open(), [self.id])


def stop_runs(snapshot: Snapshot, run_ids: Sequence[str]) -> int:
    """Ask every process that writes one of these runs to stop; how many were asked. Of several roots the request
    stands in all that have the run, since nobody knows which of them its process writes to.

    Raises:
        NotFound: one of them is not there. UsageError: nobody writes one of them any more. Then nobody was asked.
        StorageUnavailable: whether all requests count is not known; asking again is safe.
    """
    records = {record.run_id: record for record in load_runs(snapshot, run_ids)}
    asked: list[tuple[Store, str]] = []
    for run_id in run_ids:
        if run_id not in records:
            raise NotFound(f'There is no run "{run_id}" in {snapshot.entity}/{snapshot.project}.')
        found = _still_writing(visible_files(snapshot, [run_id])[0])
        if not found:
            raise UsageError(f"Run {run_id} is {records[run_id].state}: no process writes it any more.")
        asked += [(root, writer_id) for writer_id in found for root in snapshot.homes.of(run_id)]
    by = f"{_user()} on {socket.gethostname()}"
    for root, writer_id in asked:
        request_stop(root, snapshot.entity, snapshot.project, writer_id, by=by, now_us=wall_us())
    return len({writer_id for _, writer_id in asked})


def _still_writing(run: RunFiles) -> list[str]:
    """Writers that did not say that they have ended."""
    fields: dict[str, set[str]] = {}
    for fact in own_facts(run, KIND_WRITER):
        writer_id, _, field = fact.path.partition(".")
        fields.setdefault(writer_id, set()).add(field)
    return sorted(writer_id for writer_id, said in fields.items() if "last_frame" not in said)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"
