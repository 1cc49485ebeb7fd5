"""`RunIdentity`: who a run is and where it lies, as the attributes of `Run` (NAME-7)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.sdk import term
from tracker.sdk.options import RunOptions
from tracker.sdk.recorder import Recorder
from tracker.storage.events import KIND_ATTR
from tracker.storage.names import project_prefix, run_prefix

if TYPE_CHECKING:
    from tracker.sdk.config import Config
    from tracker.sdk.settings import Settings

__all__ = ["RunIdentity"]


class RunIdentity:
    """Name, place and settings of a run. `Run` sets the attributes below in its constructor."""

    _options: RunOptions
    _config: Config
    _recorder: Recorder
    _notes: str | None
    _tags: tuple[str, ...]

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
        """The step at which this process began: behind the last one where it goes on with a run (RES-5)."""
        return self._recorder.begun.step

    @property
    def step(self) -> int:
        """The step that the next call of `log` belongs to, unless it names one."""
        return self._recorder.history.steps.step

    @property
    def resumed(self) -> bool:
        """Whether an earlier run was continued where it stopped."""
        return self._recorder.begun.resumed

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
        from tracker.sdk.settings_places import inferred_settings

        given = inferred_settings(self._options) | {"x_start_time": self.start_time} | self._options.as_settings()
        files_dir = self._recorder.files_dir
        return Settings(**given).frozen_copy(files_dir.parent if files_dir is not None else None)

    @property
    def recorder(self) -> Recorder:
        """What writes this run; not for users."""
        return self._recorder

    @property
    def _attach_id(self) -> str:
        """Text for `tracker._attach` in another process; see attach.py."""
        from tracker.sdk.attach import attach_id
        from tracker.sdk.run import Run

        assert isinstance(self, Run)
        return attach_id(self)

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
        """The run as HTML in a frame of `height` pixels: where its data is, its metrics and config so far."""
        from tracker.sdk.footer import metric_series, summary_values
        from tracker.sdk.html_page import framed
        from tracker.sdk.messages import query_command
        from tracker.sdk.run_html import run_page

        recorder = self._recorder
        page = run_page(
            self.name,
            self.path,
            recorder.root,
            "ended" if recorder.ended else "running",
            series=metric_series(recorder.live, recorder.traces),
            summary=summary_values(recorder.live),
            config=sorted((key, value) for key, value in self._config.items()),
            command=query_command(self._options),
        )
        return framed(page, height, hidden, f"{self.name} ({self.path})")

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Show the run in a notebook; False outside of one."""
        from tracker.sdk.notebook import in_notebook, show_html

        return in_notebook() and show_html(self.to_html(height, hidden))

    def _repr_html_(self) -> str:
        return self.to_html()

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
