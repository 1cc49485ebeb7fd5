"""`Run`: the handle of a run that this process writes to."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from tracker.errors import UsageError
from tracker.sdk import messages, session, term
from tracker.sdk.config import Config, ConfigStatic, config_facts
from tracker.sdk.identity import generate_name
from tracker.sdk.opening import attr_facts
from tracker.sdk.options import RunOptions
from tracker.sdk.ranks import Place
from tracker.sdk.recorder import Recorder
from tracker.sdk.summary import Summary
from tracker.storage.events import KIND_ATTR
from tracker.storage.names import project_prefix, run_prefix

if TYPE_CHECKING:
    from tracker.sdk.settings import Settings

__all__ = ["Run"]


class Run:
    """Logs values, config and summary of one run until it is finished. `tracker.init` makes it."""

    def __init__(
        self,
        settings: RunOptions,
        config: dict[str, Any] | None = None,
        sweep_config: dict[str, Any] | None = None,
        launch_config: dict[str, Any] | None = None,
    ) -> None:
        """`settings` are complete (see start.py). Nothing is written before `start`.

        Raises:
            UsageError: `sweep_config` or `launch_config`, which this release can not take.
        """
        if sweep_config or launch_config:
            raise UsageError("sweep_config and launch_config are not supported in this release. Pass config.")
        self._options = settings
        self._recorder = Recorder(settings, time.time_ns() // 1000)
        self._recorder.name = settings.run_name or generate_name(str(settings.run_id))
        self._notes = settings.run_notes
        self._tags = settings.run_tags or ()
        self._config = Config(
            self._recorder.write_facts, config or {}, allow_val_change=bool(settings.allow_val_change)
        )
        self._summary = Summary(self._recorder.live, self._recorder.write_facts)

    def start(self, place: Place, *, joins: bool, generation: str | None, commit: str | None) -> None:
        """Open the local log with what the run begins with, and make this the active run. No network.

        Raises:
            CommError: the run directory can not be made.
        """
        facts = []
        if self._options.x_primary:
            describes = not joins or self._options.is_shared  # in shared mode every primary writer does
            facts += attr_facts(self._options, joins=not describes, default_name=self._recorder.name, commit=commit)
            facts += config_facts(vars(self._config)["_items"])
        self._recorder.open(place, generation, facts)
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

    def mark_preempting(self) -> None:
        """Say at once that this process is about to be preempted (FIN-5)."""
        self._recorder.mark_preempting()

    # ending

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run and wait until the store has it, giving up after `settings.x_finish_timeout_s` without progress.

        What is not sent then stays on the local disk for `tracker sync`. A second call does nothing.
        `quiet` has no effect.
        """
        _ = quiet
        self._recorder.end(exit_code or 0)

    def join(self, exit_code: int | None = None) -> None:
        """The old name of `finish`."""
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

    # who the run is

    @property
    def id(self) -> str:
        return str(self._options.run_id)

    @property
    def project(self) -> str:
        return str(self._options.project)

    @property
    def entity(self) -> str:
        return self._options.entity or ""

    @property
    def path(self) -> str:
        """`entity/project/id`."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def name(self) -> str:
        """Display name; may be set."""
        return self._recorder.name

    @name.setter
    def name(self, name: str) -> None:
        self._set_attr("name", _text("name", name))
        self._recorder.name = name

    @property
    def notes(self) -> str | None:
        """Long description; may be set."""
        return self._notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self._set_attr("notes", _text("notes", notes))
        self._notes = notes

    @property
    def tags(self) -> tuple[str, ...]:
        """May be set, from any iterable of strings."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        new = (tags,) if isinstance(tags, str) else tuple(_text("tags", tag) for tag in tags)
        self._set_attr("tags", list(new))
        self._tags = new

    @property
    def group(self) -> str:
        return self._options.run_group or ""

    @property
    def job_type(self) -> str:
        return self._options.run_job_type or ""

    @property
    def sweep_id(self) -> str | None:
        return self._options.sweep_id

    @property
    def start_time(self) -> float:
        """Unix seconds."""
        return self._recorder.started_us / 1e6

    @property
    def starting_step(self) -> int:
        """The step at which this process began."""
        return 0

    @property
    def step(self) -> int:
        """The step that the next call of `log` belongs to, unless it names one."""
        return self._recorder.history.steps.step

    @property
    def resumed(self) -> bool:
        """Whether an earlier run was continued where it stopped: not in this release."""
        return False

    @property
    def offline(self) -> bool:
        return self._options.is_offline

    @property
    def disabled(self) -> bool:
        return self._options.is_disabled

    @property
    def mode(self) -> str:
        """Kept for old code: `dryrun` when offline, else `run`."""
        return "dryrun" if self.offline else "run"

    @property
    def settings(self) -> Settings:
        """The settings in force; they can not be changed."""
        from tracker.sdk.settings import Settings

        return Settings(**self._options.as_settings()).frozen_copy()

    @property
    def recorder(self) -> Recorder:
        """What writes this run; not for users."""
        return self._recorder

    @property
    def dir(self) -> str:
        """A local directory for files of this run."""
        return str(self._recorder.files_dir or self._options.working_dir)

    # where the run is

    @property
    def url(self) -> str | None:
        """Where the run's data lies; None when offline."""
        return self.get_url()

    def get_url(self) -> str | None:
        return self._address(run_prefix(self._recorder.ref))

    def get_project_url(self) -> str | None:
        return self._address(project_prefix(self.entity, self.project))

    def get_sweep_url(self) -> str | None:
        """None: sweeps have no address in this release."""
        return None

    def project_name(self) -> str:
        return self.project

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """One line of HTML that names the run and where its data is."""
        import html

        style = f"max-height:{int(height)}px" + (";display:none" if hidden else "")
        name, path, root = (html.escape(text) for text in (self.name, self.path, self._recorder.root))
        return f"<div style='{style}'>tracker run <b>{name}</b> ({path}) in {root}</div>"

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Show the run in a notebook; False outside of one."""
        from tracker.sdk.notebook import in_notebook, show_html

        return in_notebook() and show_html(self.to_html(height, hidden))

    def _repr_html_(self) -> str:
        return self.to_html()

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
        began = (owner, recorder.place, recorder.started_us, self.step, recorder.session_writer)
        state = (self._options, config, began, self.name)
        return _unpickled, state

    def _set_attr(self, name: str, value: Any) -> None:
        self._recorder.write_facts([(KIND_ATTR, None, name, value)])

    def _address(self, below: str) -> str | None:
        if self.offline:
            term.warn("a run that is offline has no address")
            return None
        root = self._recorder.root
        base = root if "://" in root else Path(root).as_uri()
        return f"{base}/{below.rstrip('/')}"


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"run.{what} takes text, got {type(value).__name__}: {value!r:.80}")
    return value


def _unpickled(
    options: RunOptions,
    config: dict[str, Any],
    began: tuple[tuple[str, int], Place, int, int, str | None],
    name: str,
) -> Run:
    """A copy for another process; its first call opens a writer of its own there."""
    run = Run(options, config)
    run.recorder.stand_in_for(*began)
    run.recorder.name = name
    return run
