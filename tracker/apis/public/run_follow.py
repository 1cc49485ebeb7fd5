"""Following a run that is being written: its rows as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from tracker.apis.public.failures import NoSuchRun, comm_errors
from tracker.apis.public.histories import check_keys

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.query.follow_run import FollowOptions
    from tracker.query.runs import RunRecord
    from tracker.query.snapshot import Snapshot

__all__ = ["FollowCalls"]

_STREAMS = {"default": "history", "system": "system", "console": "console"}


class FollowCalls:
    """What a Run gives as it goes on."""

    id: str
    client: RetryingClient

    if TYPE_CHECKING:

        def _open(self) -> Snapshot: ...
        def load(self, force: bool = False) -> RunRecord: ...
        def _shown(self) -> str: ...

    @comm_errors
    def follow(
        self,
        keys: list[str] | None = None,
        last: int | None = 0,
        stream: Literal["default", "system", "console"] = "default",
        every_s: float = 0.75,
    ) -> Iterator[dict[str, Any]]:
        """The run's rows as they come, in the order in which they were logged, until it has ended; each comes once.

        `last`: so many of the newest rows that are there already come first (None: all of them). With `keys` only rows
        that have all of them, and nothing else. `stream="system"`: samples of the system metrics, and
        `stream="console"`: finished lines (`writer, time, stream, label, text`). Rows are as those of `scan_history`.

        A row comes at most one flush interval of its process and a second after it was logged. For that the run's
        files are listed every `every_s` seconds at most, and new ones are read; a larger number costs fewer requests
        and more delay. Iterating waits, so let a thread of its own do it beside other work (`asyncio.to_thread`). It
        ends when the run has finished, failed, crashed or was stopped; `state` then says which. Rows of a life of
        the run that shows no more (it was rewound, or started anew) do not come.

        Raises:
            CommError: the run was deleted meanwhile; `.exc` is a ValueError. Or the store was away for a minute.
            UsageError: the run is shown as of a time gone by; `last` or `every_s` is no such number.
        """
        from tracker.errors import UsageError
        from tracker.query.follow_run import FollowOptions

        self.client.refuse_the_past()
        if stream not in _STREAMS:
            raise UsageError(f'stream is "default", "system" or "console", not {stream!r:.80}.')
        if not check_keys(keys, stream):
            return iter([])
        wanted = tuple(keys) if keys else None
        return self._followed(FollowOptions(streams=(_STREAMS[stream],), keys=wanted, last=last, every_s=every_s))

    def _followed(self, options: FollowOptions) -> Iterator[dict[str, Any]]:
        from tracker.query.follow import RunGone
        from tracker.query.follow_run import follow_run

        try:
            yield from (record for _, record in follow_run(self._open, self.id, options))
        except RunGone as exc:
            raise NoSuchRun(f"could not find run {self._shown()}: it was deleted while it was followed") from exc
        self.load(force=True)
