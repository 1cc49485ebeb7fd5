"""Ends of a public `Run`: waiting for its own, deleting it, and taking that back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tracker.apis.public.failures import comm_errors
from tracker.apis.public.run_edits import delete_runs, restore_runs
from tracker.errors import UsageError

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.query.runs import RunRecord
    from tracker.query.snapshot import Snapshot
    from tracker.storage.names import RunRef

__all__ = ["EndCalls"]

_POLL_S: Final = 5.0
_ENDED: Final = frozenset({"finished", "crashed", "failed", "killed", "preempted"})


class EndCalls:
    """Part of `Run`, which loads the record."""

    id: str
    state: str
    client: RetryingClient
    _ref: RunRef

    if TYPE_CHECKING:

        def load(self, force: bool = False) -> RunRecord: ...
        def _open(self) -> Snapshot: ...
        def _refresh(self) -> None: ...

    @comm_errors
    def wait_until_finished(self) -> None:
        """Return once the run has ended, whichever way; its state and its summary are then those of the end (RUN-10).

        The store is asked every 5 seconds. Of a process that died without a word its silence tells, after 5 minutes:
        the run has crashed. What was changed here and not stored stays.

        Raises:
            NoSuchRun: the run was deleted. UsageError: at the time gone by that is shown it had not ended.
        """
        while True:
            self._refresh()
            if self.state in _ENDED:
                return
            if self.client.as_of_us is not None:
                raise UsageError(f"At the time that this Api shows, run {self.id} was {self.state}, and stays so.")
            time.sleep(_POLL_S)

    @comm_errors
    def delete(self, delete_artifacts: bool = False) -> None:
        """Hide the run from every answer, with all that has begun of it, synced or not (RUN-9). Its data stays.

        `undelete` takes it back. A later session of the same id is a run of its own. `delete_artifacts` changes
        nothing: this release has no artifacts.

        Raises:
            UsageError: the run is shown as of a time gone by.
        """
        _ = delete_artifacts
        self.client.refuse_the_past()
        delete_runs(self._open(), [self.id], patience_s=self.client.patience_s)
        self.client.deletions += 1

    @comm_errors
    def undelete(self) -> None:
        """Show the run again, as if it had never been deleted, and load it. What was purged does not come back.

        Raises:
            NoSuchRun: the store has nothing of it any more.
            UsageError: the run is shown as of a time gone by.
        """
        self.client.refuse_the_past()
        snapshot = self.client.snapshot(self._ref.entity, self._ref.project, self.id)
        restore_runs(snapshot, [self.id], patience_s=self.client.patience_s)
        self.client.deletions += 1
        self.load(force=True)
