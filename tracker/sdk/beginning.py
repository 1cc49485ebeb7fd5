"""What a run begins with beside what `init` was given: nothing, or what the store had of an earlier session.

Pure values; who reads them is resume.py, who writes them the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tracker.sdk.config import config_facts
from tracker.sdk.facts import FactRow
from tracker.sdk.live import LiveValues
from tracker.sdk.opening import attr_facts
from tracker.sdk.options import RunOptions
from tracker.storage.events import KIND_ATTR, KIND_CONFIG, KIND_METRIC, Value, split_path, unflatten
from tracker.storage.metric_rules import Carried, MetricRules

__all__ = ["Beginning", "Start"]

_FIELDS: Final = {
    "name": "run_name",
    "notes": "run_notes",
    "tags": "run_tags",
    "group": "run_group",
    "job_type": "run_job_type",
    "sweep": "sweep_id",
}
_Leaves = Mapping[str, Value]  # stored path to value


@dataclass(frozen=True, slots=True)
class Start:
    """Where a session's own rows begin."""

    step: int = 0
    runtime_s: float = 0.0  # of the run, before this session
    resumed: bool = False  # an earlier run is gone on with where it stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """`generation`: the life that the session opens; None: it joins the newest one."""

    generation: str | None
    describes: bool = True  # it says name, host, program, ... of the run, not only what it was given
    observed: bool = False  # the store was read, so stamps are later than all that is there
    start: Start = Start()
    live: Mapping[str, _Leaves] = field(default_factory=dict)  # live facts of the run as it stands: by kind
    carried: Mapping[str, Carried] = field(default_factory=dict)  # stored key to what its points had come to
    explicit: _Leaves = field(default_factory=dict)  # summary values that were set by hand
    copied: tuple[FactRow, ...] = ()  # what a branch writes anew: all but attributes and config

    def filled(self, options: RunOptions) -> RunOptions:
        """Name, notes, tags, group, job type and sweep as stored, where `options` do not give them (RES-6)."""
        stored = {option: self.live.get(KIND_ATTR, {}).get(name) for name, option in _FIELDS.items()}
        if isinstance(stored["run_tags"], list):
            stored["run_tags"] = tuple(str(tag) for tag in stored["run_tags"])
        missing: dict[str, Any] = {
            option: value
            for option, value in stored.items()
            if getattr(options, option) is None and isinstance(value, tuple if option == "run_tags" else str)
        }
        return replace(options, **missing)

    def config(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The stored config with the top-level keys of `given` on it (RES-7)."""
        leaves = sorted(self.live.get(KIND_CONFIG, {}).items(), key=lambda leaf: split_path(leaf[0]))
        return unflatten(leaves) | dict(given)

    def restore(self, live: LiveValues) -> None:
        """The summary is what it was, and definitions of metrics hold."""
        live.restore(MetricRules.of_facts(self.live.get(KIND_METRIC, {})), self.carried)
        for path, value in self.explicit.items():
            live.replace(path, [(path, value)])

    def facts(
        self, options: RunOptions, config: dict[str, Any], *, default_name: str, commit: str | None
    ) -> list[FactRow]:
        """What the session's first frame says of the run. `options` and `config`: as they were given."""
        copies = bool(self.copied)
        found = list(self.copied)
        if not options.x_primary:
            return found
        attrs = attr_facts(options, joins=not self.describes, default_name=default_name, commit=commit)
        if copies:
            said = {path for _, _, path, _ in attrs}
            attrs += [(KIND_ATTR, None, path, value) for path, value in self._kept_attrs() if path not in said]
            leaves = self.live.get(KIND_CONFIG, {}).items()
            found += [(KIND_CONFIG, None, path, value) for path, value in leaves if split_path(path)[0] not in config]
        return [*found, *attrs, *config_facts(config)]

    def _kept_attrs(self) -> list[tuple[str, Value]]:
        return [(path, value) for path, value in self.live.get(KIND_ATTR, {}).items() if value is not None]
