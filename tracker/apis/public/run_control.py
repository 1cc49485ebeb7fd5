"""`RunControl`: what the public `Run` shows and asks of the process that writes the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker.storage.events import KIND_ALERT

if TYPE_CHECKING:
    from tracker.query.runs import RunRecord

__all__ = ["RunControl"]


class RunControl:
    """Part of `Run`, which loads the record."""

    if TYPE_CHECKING:

        def load(self, force: bool = False) -> RunRecord: ...

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Alerts of the run, oldest first: `id`, `title`, `text`, `level`, `time` (unix seconds)."""
        found = self.load().live.get(KIND_ALERT, {})
        return [{"id": path, **value} for path, value in sorted(found.items()) if isinstance(value, dict)]
