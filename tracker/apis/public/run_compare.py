"""`CompareCalls`: a public `Run` beside another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tracker.apis.public.failures import comm_errors

if TYPE_CHECKING:
    from tracker.apis.public.run import Run
    from tracker.apis.public.run_diff import RunDiff
    from tracker.query.snapshot import Snapshot

__all__ = ["CompareCalls"]


class CompareCalls:
    """Part of `Run`, which opens snapshots."""

    id: str

    if TYPE_CHECKING:

        def _open(self) -> Snapshot: ...

    @comm_errors
    def diff(self, other: Run, **options: Any) -> RunDiff:
        """What differs between this run and another one; options as for `Api.diff`."""
        from tracker.apis.public.run_diff import RunDiff

        return RunDiff.of(self.opener(), other.opener(), **options)

    def opener(self) -> tuple[Callable[[], Snapshot], str]:
        """How the store is asked for the run as it is now, and its id. Not for users."""
        return self._open, self.id
