"""What works beside a run, from its start to its end: console capture, system metrics, live files, ...

A service never breaks the training: what it raises is said once, and the run goes on without it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracker.sdk import term
from tracker.sdk.notebook import in_notebook

if TYPE_CHECKING:
    from tracker.sdk.options import RunOptions
    from tracker.sdk.run import Run

__all__ = ["RunService", "Services"]


class RunService(Protocol):
    """One of them. Its methods are called in the process that started the run."""

    def start(self) -> None:
        """The run is open and active. Called in `init`, so nothing slow: import, ask and wait in a thread."""

    def stop(self, exit_code: int) -> None:
        """The run is about to end: write what is left (rows, facts and files are still taken) and stop."""

    def after_fork(self) -> None:
        """In a forked child, which has none of the threads: let go of descriptors and patches, write nothing."""


Factory = Callable[["Run"], RunService | None]

# (module, factory in it, whether a run with these options wants it); started in this order, stopped in reverse
_KNOWN: Final[tuple[tuple[str, str, Callable[[RunOptions], bool]], ...]] = (
    ("tracker.sdk.console_start", "make_console", lambda options: options.console != "off"),  # hears the others
    ("tracker.sdk.notebook_session", "make_notebook_session", lambda _: in_notebook()),
    ("tracker.sdk.metadata", "make_metadata", lambda options: _describes(options)),
    ("tracker.sdk.tb_sync", "make_tensorboard_sync", lambda options: _syncs_tensorboard(options)),
    ("tracker.sdk.system.sampler", "make_sampler", lambda options: not options.x_disable_stats),
)


class Services:
    """Those of one run."""

    def __init__(self) -> None:
        self._running: list[RunService] = []

    def start(self, run: Run, options: RunOptions) -> None:
        """Start what the options ask for."""
        for module, factory, wants in _KNOWN:
            if wants(options):
                self.add(module, partial(_made, module, factory, run))

    def add(self, name: str, make: Callable[[], RunService | None]) -> None:
        """Make and start one more. `name` stands in what is said when it fails."""
        service = _guarded(name, make)
        if service is not None:
            _guarded(name, service.start)
            self._running.append(service)

    def stop(self, exit_code: int) -> None:
        """Stop all, the last first. Again: nothing happens."""
        while self._running:
            service = self._running.pop()
            try:
                _guarded(type(service).__name__, partial(service.stop, exit_code))
            except BaseException:  # Ctrl-C ended the waiting for this one
                self.stop(exit_code)
                raise

    def pause(self) -> None:
        """A notebook's cell ended: nothing runs that would be worth looking at (SYS-1)."""
        self._tell("pause")

    def resume(self) -> None:
        """A notebook's cell begins."""
        self._tell("resume")

    def listen(self) -> None:
        """Somebody may have taken hooks away."""
        self._tell("listen")

    def hurry(self) -> None:
        """The process is about to die of a signal: write what is at hand, and do not wait. Runs beside the others."""
        self._tell("hurry")

    def after_fork(self) -> None:
        """In a forked child: forget them."""
        running, self._running = self._running, []
        for service in running:
            _guarded(type(service).__name__, service.after_fork)

    def _tell(self, name: str) -> None:
        """Call the method of that name of every service that has one."""
        for service in self._running:
            call = getattr(service, name, None)
            if call is not None:
                _guarded(type(service).__name__, call)


def _describes(options: RunOptions) -> bool:
    """Whether there is anything that a primary writer records of program, packages and machine (META-5, SET-6)."""
    wanted = not options.x_disable_meta or options.x_save_requirements or options.save_code
    return bool(options.x_primary and wanted)


def _made(module: str, factory: str, run: Run) -> RunService | None:
    service: RunService | None = getattr(importlib.import_module(module), factory)(run)
    return service


def _syncs_tensorboard(options: RunOptions) -> bool:
    patches = sys.modules.get("tracker.sdk.tb_patch")  # nobody called tracker.tensorboard.patch() without it
    return bool(options.sync_tensorboard) or (patches is not None and patches.noticed.by_user)


def _guarded(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as exc:  # whatever it is, the training goes on
        term.warn(f"{name.rpartition('.')[2]}: {type(exc).__name__}: {exc}; the run goes on without it")
        return None
