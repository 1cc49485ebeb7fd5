"""`LifecycleCalls`: what a run says about how it fares: alerts, state, how much the store has of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tracker.sdk.alerts import AlertDesk, AlertLevel, alert_level, alert_wait_s
from tracker.sdk.recorder import Recorder

__all__ = ["LifecycleCalls", "RunStatus"]


@dataclass
class RunStatus:
    """How much of what was logged the store has (FIN-9). Items are frames: one a call that writes."""

    sync_items_total: int = 0
    sync_items_pending: int = 0
    sync_time: datetime | None = None  # when the store last took something; UTC


class LifecycleCalls:
    """`Run` sets the attributes below in its constructor."""

    _recorder: Recorder
    _alerts: AlertDesk

    def alert(
        self,
        title: str,
        text: str,
        level: str | AlertLevel | None = None,
        wait_duration: float | timedelta | None = None,
    ) -> None:
        """Record an alert with the run, and hand it to the hooks that the settings name.

        The store is told at once; `alert_command`, `alert_webhook` and `alert_slack` are served in the background and
        asked again when they fail. A second alert of the same title within `wait_duration` (seconds or a timedelta,
        default a minute) is dropped. `level`: INFO (the default), WARN or ERROR.

        Raises:
            ValueError: another level, or a wait that is no time.
            UsageError: the run is finished.
        """
        self._alerts.take(str(title), str(text), alert_level(level), alert_wait_s(wait_duration))

    def mark_preempting(self) -> None:
        """Say at once that this process is about to be preempted (FIN-5)."""
        self._recorder.mark_preempting()

    def status(self) -> RunStatus | None:
        """How much of the run the store has already; asks no network. None when the run is disabled.

        Raises:
            UsageError: the run is finished.
        """
        writer = self._recorder.open_writer("status")
        total = writer.next_seq
        shipped_at = writer.shipped_at_s()
        return RunStatus(
            sync_items_total=total,
            sync_items_pending=max(total - writer.shipped_frames, 0),
            sync_time=None if shipped_at is None else datetime.fromtimestamp(shipped_at, UTC),
        )
