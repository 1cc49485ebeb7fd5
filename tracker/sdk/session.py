"""What one process has going: the active run, the runs not yet finished, the settings that setup() and login() left.

The module names (`tracker.run`, `tracker.log`, `tracker.config`, ...) are bound here and nowhere else.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from tracker.sdk.preinit import PreInitCallable, PreInitObject

if TYPE_CHECKING:  # both cost more than this module
    from tracker.sdk.recorder import Recorder
    from tracker.sdk.run import Run
    from tracker.sdk.settings import Settings

__all__ = [
    "Session",
    "active_here",
    "adopt",
    "bind",
    "current",
    "drop",
    "ensure_configured",
    "finish",
    "join",
    "release",
    "setup",
    "teardown",
    "unbind",
]

_CALLS = ("alert", "define_metric", "log", "mark_preempting", "save", "unwatch", "watch")
_OBJECTS = ("config", "summary")


class Session:
    """State of this process; `lock` guards starting and ending runs."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.run: Run | None = None
        self.live: list[Recorder] = []  # of runs started here and not finished
        self.settings: dict[str, Any] = {}

    def mode(self) -> str:
        """The mode that a run would have without arguments, as far as it is known without reading files."""
        environment = os.environ.get("TRACKER_MODE") or os.environ.get("WANDB_MODE") or "online"
        return str(self.settings.get("mode") or environment)

    def forget_after_fork(self) -> None:
        """In a forked child: the parent's runs are not ours to finish."""
        self.lock = threading.RLock()
        self.live = []


current = Session()


def active_here() -> Run | None:
    """The active run, if this process owns it or has attached to it; one inherited by fork does not count."""
    run = current.run
    if run is None or run.disabled or run.recorder in current.live:
        return run
    return None


def bind(run: Run) -> None:
    """`tracker.run` is `run`, and the module's calls are its methods (MOD-6)."""
    current.run = run
    module = sys.modules["tracker"]
    vars(module)["run"] = run
    for name in (*_CALLS, *_OBJECTS):
        vars(module)[name] = getattr(run, name)


def unbind() -> None:
    """No run is active: the module's names say so again."""
    current.run = None
    module = sys.modules["tracker"]
    vars(module)["run"] = None
    for name in _CALLS:
        vars(module)[name] = PreInitCallable(name)
    for name in _OBJECTS:
        vars(module)[name] = PreInitObject(name)


def adopt(recorder: Recorder) -> None:
    """This process ends the run when it ends itself."""
    if recorder not in current.live:
        current.live.append(recorder)


def drop(recorder: Recorder) -> None:
    """The run is over; where it was the active one, there is none now."""
    if recorder in current.live:
        current.live.remove(recorder)
    if current.run is not None and current.run.recorder is recorder:
        unbind()


def release(run: Run) -> None:
    """A run without recorder is over."""
    if current.run is run:
        unbind()


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the active run and wait until the store has it; without a run nothing happens (MOD-4)."""
    if current.run is not None:
        current.run.finish(exit_code=exit_code, quiet=quiet)


def join(exit_code: int | None = None) -> None:
    """The old name of `finish`."""
    if current.run is not None:
        current.run.join(exit_code=exit_code)


def setup(settings: Settings | dict[str, Any] | None = None) -> Session:
    """The session of this process; `settings` hold for the runs started from now on (MODE-6).

    Raises:
        pydantic.ValidationError (a ValueError): an unknown name or a value of a wrong type.
    """
    if settings is not None:
        from tracker.sdk.options import validated

        current.settings.update(validated(settings) if isinstance(settings, dict) else settings.given())
    return current


def ensure_configured() -> None:
    """There is nothing to prepare: settings are read when they are needed."""


def teardown(exit_code: int | None = None) -> None:
    """Finish every run of this process and forget what setup() and login() said."""
    for recorder in list(current.live):
        recorder.end(exit_code or 0)
    current.settings.clear()
