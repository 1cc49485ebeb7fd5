"""`mode="disabled"`: a run that writes nothing and answers like one (MODE-3..5)."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracker.errors import Error
from tracker.sdk import session
from tracker.sdk.config import Config
from tracker.sdk.facts import FactRow
from tracker.sdk.identity import generate_id
from tracker.sdk.injected import Injected
from tracker.sdk.live import LiveValues
from tracker.sdk.media import MediaPlace
from tracker.sdk.metric import Metric
from tracker.sdk.options import RunOptions
from tracker.sdk.run import Run
from tracker.sdk.summary import Summary
from tracker.storage.metric_rules import MetricRule

__all__ = ["RunDisabled", "start_disabled"]


class RunDisabled(Run):
    """Takes every call and keeps config and summary in memory; nothing reaches a disk or a store."""

    def __init__(
        self,
        settings: RunOptions,
        config: dict[str, Any] | None = None,
        sweep_config: dict[str, Any] | None = None,
        launch_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(settings, config, sweep_config, launch_config)
        self._live = LiveValues(_keep_nothing)
        self._summary = Summary(self._live, _keep_nothing, place=MediaPlace(_keep_no_bytes, "summary"))
        vars(self._config)["_persist"] = _keep_nothing

    def start(self, *_: object, **__: object) -> None:
        """Make this the active run."""
        session.bind(self)

    def log(
        self, data: dict[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Update the summary. Raises ValueError when `data` is no mapping."""
        _ = (step, commit, sync)
        if not isinstance(data, Mapping):
            raise ValueError(f"log needs a dict of values, got {type(data).__name__}: {data!r:.80}")
        cells = {key: value for key, value in data.items() if isinstance(key, str) and key}
        self._live.log({**cells, **self._live.metrics.row_alone(cells)})  # each call is a row

    @property
    def config(self) -> Config:
        return self._config

    @property
    def summary(self) -> Any:
        return self._summary

    @property
    def step(self) -> int:
        return 0

    @property
    def dir(self) -> str:
        return tempfile.gettempdir()

    def flush(self, timeout_s: float | None = None) -> bool:
        """There is nothing to wait for."""
        _ = timeout_s
        return True

    def alert(self, *_: object, **__: object) -> None:
        """Has nobody to tell (MODE-4)."""

    def status(self) -> None:
        """None (MODE-4)."""

    def mark_preempting(self) -> None:
        """Has nobody to tell."""

    def save(self, *_: object, **__: object) -> bool:
        """Keeps nothing."""
        return False

    def log_code(self, *_: object, **__: object) -> None:
        """Keeps nothing (MODE-4)."""

    def watch(self, *_: object, **__: object) -> None:
        """No hook is put on anything."""

    def unwatch(self, models: object = None) -> None:
        """There is no hook to take off."""
        _ = models

    def define_metric(self, name: Any, *args: Any, **kwargs: Any) -> Metric:
        """As of a run, but what is wrong with the arguments is not said (MODE-4)."""
        try:
            return super().define_metric(name, *args, **kwargs)
        except (Error, TypeError):
            return Metric(str(name), None, MetricRule(name=str(name)))

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """The module's names are free again; the object goes on taking calls."""
        _ = (exit_code, quiet)
        session.release(self)

    def get_url(self) -> str | None:
        return None

    def get_project_url(self) -> str | None:
        return None

    def _define(self, metric: Metric, *, overwrite: bool) -> None:
        older = self._live.metrics.rules.get(metric.rule.name)
        self._live.define(metric.rule if older is None or overwrite else metric.rule.over(older))

    def _set_attr(self, name: str, value: Any) -> None:
        _ = (name, value)


def start_disabled(options: RunOptions, config: dict[str, Any], injected: Injected) -> RunDisabled:
    """The active run is a disabled one, named `dummy-<id>` in `dummy/dummy`."""
    run_id = generate_id()
    named = replace(options, run_id=run_id, run_name=f"dummy-{run_id}", entity="dummy", project="dummy")
    run = RunDisabled(named, config, injected.sweep, injected.launch)
    run.start()
    return run


def _keep_nothing(what: list[FactRow] | str) -> None:
    """Facts and warnings of a disabled run end here."""
    _ = what


def _keep_no_bytes(source: bytes | Path, name_of: Callable[[str], str]) -> dict[str, Any]:
    """What a media file's JSON would say of the contents, if there were any."""
    _ = source
    empty = hashlib.sha256().hexdigest()
    return {"sha256": empty, "size": 0, "path": name_of(empty)}
