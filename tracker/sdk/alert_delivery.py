"""Hands alerts to the hooks, in threads of its own: the training never waits, a hook that fails is asked again."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Final

from tracker.sdk import term
from tracker.sdk.alerts import HOOK_SETTINGS, Alert
from tracker.sdk.options import RunOptions

if TYPE_CHECKING:  # loads the HTTP client: left to the threads
    from tracker.sdk.alert_hooks import AlertHook

__all__ = ["AlertDelivery"]

_WAITING_MAX: Final = 100
_BACKOFF_S: Final = (1.0, 3.0, 9.0, 27.0)  # between attempts, which are one more
_STOP_S: Final = 5.0


class AlertDelivery:
    """One queue and one thread for each hook: a slow one holds up nobody else. A service of the run."""

    def __init__(self, options: RunOptions) -> None:
        self._patience_s = min(options.x_finish_timeout_s, _STOP_S)
        named = {setting: getattr(options, setting) for setting in HOOK_SETTINGS}
        self._lines = [_Line(setting, value) for setting, value in named.items() if value]

    def start(self) -> None:
        for line in self._lines:
            line.thread.start()

    def put(self, alert: Alert) -> None:
        """Returns at once."""
        for line in self._lines:
            line.put(alert)

    def stop(self, exit_code: int) -> None:
        """Wait for what is under way, a few seconds at most; say what was not delivered."""
        _ = exit_code
        deadline = time.monotonic() + self._patience_s
        for line in self._lines:
            line.hurry()
        for line in self._lines:
            line.thread.join(max(deadline - time.monotonic(), 0.0))
            if line.thread.is_alive():
                term.warn(f"{line.name} did not take its alerts in time; they are recorded with the run")

    def after_fork(self) -> None:
        """The threads are the parent's."""
        self._lines = []


class _Line:
    """What waits for one hook."""

    def __init__(self, setting: str, value: str) -> None:
        self.name = setting
        self.thread = threading.Thread(target=self._run, args=(setting, value), name="tracker-alerts", daemon=True)
        self._alerts: queue.Queue[Alert | None] = queue.Queue(_WAITING_MAX)
        self._hurry = threading.Event()

    def put(self, alert: Alert) -> None:
        try:
            self._alerts.put_nowait(alert)
        except queue.Full:
            term.warn(f"alert {alert.title!r} was recorded but not delivered: {_WAITING_MAX} others wait ({self.name})")

    def hurry(self) -> None:
        """Nothing follows; no pause between attempts any more."""
        self._hurry.set()
        try:
            self._alerts.put_nowait(None)
        except queue.Full:
            return  # the thread is far behind: it ends with the process

    def _run(self, setting: str, value: str) -> None:
        from tracker.sdk.alert_hooks import hook_of

        try:
            hook = hook_of(setting, value)
            while (alert := self._alerts.get()) is not None:
                self._deliver(hook, alert)
        except Exception as exc:  # a hook must not take the training with it
            term.warn(f"{self.name}: {type(exc).__name__}: {exc}; no more alerts are delivered there")

    def _deliver(self, hook: AlertHook, alert: Alert) -> None:
        from tracker.sdk.alert_hooks import DeliveryFailed

        for pause_s in (*_BACKOFF_S, None):
            try:
                hook.send(alert)
                return
            except DeliveryFailed as exc:
                if pause_s is None or not exc.again or self._hurry.is_set():
                    term.warn(f"alert {alert.title!r} was recorded but not delivered: {hook.name} {exc}")
                    return
            self._hurry.wait(pause_s)
