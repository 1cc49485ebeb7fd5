"""`run.alert`: a titled message that is recorded with the run at once and handed to the hooks of the settings."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import term
from tracker.storage.events import KIND_ALERT
from tracker.storage.names import new_ulid, run_prefix

if TYPE_CHECKING:
    from tracker.sdk.alert_delivery import AlertDelivery
    from tracker.sdk.recorder import Recorder

__all__ = ["HOOK_SETTINGS", "Alert", "AlertDesk", "AlertLevel", "alert_level", "alert_wait_s"]

HOOK_SETTINGS: Final = ("alert_command", "alert_webhook", "alert_slack")

_WAIT_S: Final = 60.0
_TITLES_MAX: Final = 1_000  # remembered for ALRT-2; the title that was used longest ago is forgotten first


class AlertLevel(Enum):
    """How much an alert matters."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert, and the run that it is about. `time`: unix seconds. `id` is unique, so that repeats can be dropped."""

    id: str
    title: str
    text: str
    level: str
    time: float
    entity: str
    project: str
    run_id: str
    run_name: str
    run_url: str

    def as_fact(self) -> dict[str, Any]:
        """What is stored with the run, which knows the rest."""
        return {"title": self.title, "text": self.text, "level": self.level, "time": self.time}


def alert_level(level: str | AlertLevel | None) -> str:
    """The level's word; None is INFO. Raises ValueError for anything but INFO, WARN and ERROR (ALRT-1)."""
    word = level.value if isinstance(level, AlertLevel) else level
    if word is None:
        return AlertLevel.INFO.value
    if word not in AlertLevel.__members__:
        raise ValueError(f"alert(level={level!r}): use INFO, WARN or ERROR, or a member of tracker.AlertLevel.")
    return str(word)


def alert_wait_s(wait_duration: float | timedelta | None) -> float:
    """Seconds; None is a minute. Raises ValueError for anything but a number or a timedelta (ALRT-1)."""
    if wait_duration is None:
        return _WAIT_S
    if isinstance(wait_duration, timedelta):
        return wait_duration.total_seconds()
    if not isinstance(wait_duration, int | float):
        raise ValueError(f"alert(wait_duration={wait_duration!r}): use seconds or a timedelta.")
    return float(wait_duration)


class AlertDesk:
    """Takes the alerts of one run in one process; any thread may call it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._said_offline = False
        self._sent_at: OrderedDict[str, float] = OrderedDict()  # by title, monotonic seconds
        self._delivery: AlertDelivery | None = None

    def take(self, title: str, text: str, level: str, wait_s: float) -> None:
        """Record the alert, flush, and leave delivery to a thread. A repeat of a title within `wait_s` is dropped.

        Raises:
            UsageError: the run is finished.
        """
        writer = self._recorder.open_writer("alert")
        if self._pid != os.getpid():  # a forked child
            self._begin()
        if not self._is_due(title, wait_s):
            return
        options, ref = self._recorder.options, self._recorder.ref
        now_us = time.time_ns() // 1000
        alert = Alert(
            id=new_ulid(now_us),
            title=title,
            text=text,
            level=level,
            time=now_us / 1e6,
            entity=ref.entity,
            project=ref.project,
            run_id=ref.run_id,
            run_name=self._recorder.name,
            run_url=f"{self._recorder.root.rstrip('/')}/{run_prefix(ref).rstrip('/')}",
        )
        self._recorder.write_facts([(KIND_ALERT, None, alert.id, alert.as_fact())])
        writer.request_flush()
        if any(getattr(options, setting) for setting in HOOK_SETTINGS):
            self._deliver(alert)

    def _is_due(self, title: str, wait_s: float) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._sent_at.get(title, -float("inf")) < wait_s:
                return False
            self._sent_at[title] = now
            self._sent_at.move_to_end(title)
            if len(self._sent_at) > _TITLES_MAX:
                self._sent_at.popitem(last=False)
        return True

    def _deliver(self, alert: Alert) -> None:
        with self._lock:
            if self._recorder.options.is_offline:
                if not self._said_offline:
                    term.info("the run is offline: its alerts are recorded, and no hook is called")
                self._said_offline = True
                return
            if self._delivery is None:
                from tracker.sdk.alert_delivery import AlertDelivery

                delivery = self._delivery = AlertDelivery(self._recorder.options)
                self._recorder.services.add(__name__, lambda: delivery)
            self._delivery.put(alert)
