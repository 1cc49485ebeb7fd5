"""`Run`: the handle of a run that this process writes to."""

from __future__ import annotations

import os
import socket
import time
from types import TracebackType
from typing import Any, Literal

from tracker.errors import UsageError
from tracker.sdk import messages, session, term
from tracker.sdk.alerts import AlertDesk
from tracker.sdk.beginning import Beginning, Start
from tracker.sdk.config import Config, ConfigStatic
from tracker.sdk.identity import generate_name
from tracker.sdk.media import MediaPlace
from tracker.sdk.options import RunOptions
from tracker.sdk.ranks import Place
from tracker.sdk.recorder import Recorder
from tracker.sdk.run_code import CodeCalls
from tracker.sdk.run_files import FileCalls
from tracker.sdk.run_identity import RunIdentity
from tracker.sdk.run_lifecycle import LifecycleCalls
from tracker.sdk.run_metrics import MetricCalls
from tracker.sdk.run_watch import WatchCalls
from tracker.sdk.summary import Summary
from tracker.storage.metric_rules import Carried, MetricRule

__all__ = ["Run"]


class Run(FileCalls, LifecycleCalls, WatchCalls, MetricCalls, CodeCalls, RunIdentity):
    """Logs values, config and summary of one run until it is finished. `tracker.init` makes it."""

    def __init__(
        self,
        settings: RunOptions,
        config: dict[str, Any] | None = None,
        sweep_config: dict[str, Any] | None = None,
        launch_config: dict[str, Any] | None = None,
    ) -> None:
        """`settings` are complete (see start.py). Nothing is written before `start`.

        `sweep_config` and `launch_config` override `config` and are locked (CFG-13).
        """
        self._options = settings
        self._recorder = Recorder(settings, time.time_ns() // 1000)
        self._recorder.name = settings.run_name or generate_name(str(settings.run_id))
        self._alerts = AlertDesk(self._recorder)
        self._notes = settings.run_notes
        self._tags = settings.run_tags or ()
        self._config = Config(
            self._recorder.write_facts,
            config or {},
            allow_val_change=bool(settings.allow_val_change),
            locked={"sweep": sweep_config, "launch": launch_config},
        )
        self._summary = Summary(
            self._recorder.live, self._recorder.write_facts, place=MediaPlace(self._recorder.keep_media, "summary")
        )

    def start(self, place: Place, beginning: Beginning, *, given: RunOptions, commit: str | None) -> None:
        """Open the local log with what the run begins with, and make this the active run. No network.

        `given`: the options without what `beginning` filled in, for only they are new to the store.

        Raises:
            CommError: the run directory can not be made.
        """
        config = vars(self._config)["_items"]
        facts = beginning.facts(given, dict(config), default_name=self._recorder.name, commit=commit)
        config.update(beginning.config(config))
        beginning.restore(self._recorder.live)
        self._recorder.open(place, beginning, facts)
        session.adopt(self._recorder)
        session.bind(self)
        messages.say_begin(self._options, self._recorder.name)
        self._recorder.services.start(self, self._options)

    # logging

    def log(
        self,
        data: dict[str, Any],
        step: int | None = None,
        commit: bool | None = None,
        sync: bool | None = None,  # noqa: ARG002 - the reference's signature; no statement is spent on it
    ) -> None:
        """Record `data`, a dict of values, and return when the kernel has it; the store is never waited for.

        Without `step` the values complete the current row and the next one begins; with `step`, or with
        `commit=False`, the row stays open for more. A step below the current one makes a row of its own.
        `sync` has no effect.

        Raises:
            ValueError: `data` is no dict, or a key no string.
            TypeError: a value that has no stored form, or a `step` that is no integer. Nothing was logged.
            UsageError: the run is finished.
        """
        self._recorder.history.log(data, step, commit)

    @property
    def config(self) -> Config:
        """Hyperparameters, dict-like."""
        return self._config

    @property
    def config_static(self) -> ConfigStatic:
        """The config, read-only."""
        return ConfigStatic(self._config)

    @property
    def summary(self) -> Any:
        """The last value of every key; what is set here stays until the key is logged again."""
        if self._recorder.ended:
            term.warn(f"run {self.id} is finished; read its summary with tracker.Api()")
            return {}
        return self._summary

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until the store has everything logged so far. False: not within `timeout_s` seconds."""
        return self._recorder.flush(timeout_s)

    # ending

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run and wait until the store has it, giving up after `settings.x_finish_timeout_s` without progress.

        What is not sent then stays on the local disk for `tracker sync`. A second call does nothing.
        `quiet` has no effect.
        """
        if quiet is not None:
            term.warn("finish(quiet=) has no effect; use the setting quiet")
        self._recorder.end(exit_code or 0)

    def join(self, exit_code: int | None = None) -> None:
        """The old name of `finish`."""
        term.warn("run.join() is the old name of run.finish()")
        self.finish(exit_code=exit_code)

    def detach(self) -> None:
        """Has no effect, here as in the reference."""

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> Literal[False]:
        """Finish, with exit code 1 after an exception, which goes on its way (RE-6)."""
        self.finish(exit_code=1 if exc_type is not None else 0)
        return False

    def __repr__(self) -> str:
        return f"<Run {self.path} {self.name!r}>"

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not isinstance(getattr(type(self), name, None), property):
            raise UsageError(
                f"Attribute {name!r} is not supported on a run. Keep own values in run.config or run.summary."
            )
        object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        recorder = self._recorder
        owner = recorder.owner or (socket.gethostname(), os.getpid())
        config = dict(vars(self._config)["_items"])
        began = (owner, recorder.place, recorder.started_us, self.step, recorder.session_writer, recorder.begun)
        state = (self._options, config, began, self.name, recorder.live.definitions())
        return _unpickled, state


def _unpickled(
    options: RunOptions,
    config: dict[str, Any],
    began: tuple[tuple[str, int], Place, int, int, str | None, Start],
    name: str,
    defined: tuple[list[MetricRule], dict[str, Carried]],
) -> Run:
    """A copy for another process; its first call opens a writer of its own there."""
    run = Run(options, config)
    run.recorder.stand_in_for(*began)
    run.recorder.name = name
    run.recorder.live.restore(*defined)
    return run
