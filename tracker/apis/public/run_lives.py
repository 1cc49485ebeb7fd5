"""The lives of a run: what was replaced by a rewind or a new start is hidden, and stays readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker.apis.public.failures import comm_errors
from tracker.query.instants import iso_micros
from tracker.query.lives import lives_of

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.query.snapshot import Snapshot

__all__ = ["LifeCalls"]


class LifeCalls:
    """What a Run knows of its lives."""

    id: str
    client: RetryingClient

    if TYPE_CHECKING:

        def _open(self) -> Snapshot: ...

    @comm_errors
    def lives(self) -> list[dict[str, Any]]:
        """The run's lives, oldest first: a plain `init` on its id began one, and so did each rewind.

        Of each its `id`, which `history(life=...)` and `scan_history(life=...)` take; `created_at` and `heartbeat_at`
        (ISO 8601, UTC); whether it is `shown`; `branch_point`, `run_id` and `step` of where it was forked or rewound,
        else None; and its `writers`. What was deleted is not among them.
        """

        def read(snapshot: Snapshot) -> list[dict[str, Any]]:
            return [
                {
                    "id": life.id,
                    "created_at": iso_micros(life.begun_us),
                    "heartbeat_at": iso_micros(life.last_us),
                    "shown": life.shown,
                    "branch_point": life.branch and {"run_id": life.branch.run_id, "step": life.branch.step},
                    "writers": sorted(life.writers),
                }
                for life in lives_of(snapshot, self.id)
            ]

        return self.client.read(read, self._open(), self._open)
