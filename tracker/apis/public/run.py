"""One run as the public Api shows it: what it is, and its history."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import NoSuchRun, comm_errors
from tracker.apis.public.internal_config import internal_config
from tracker.apis.public.run_compare import CompareCalls
from tracker.apis.public.run_control import RunControl
from tracker.apis.public.run_edits import attr_edits, delete_runs, tree_edits, write_edits
from tracker.apis.public.run_file_calls import RunFileCalls
from tracker.apis.public.run_history import HistoryCalls
from tracker.apis.public.run_lives import LifeCalls
from tracker.apis.public.run_view import RunView
from tracker.apis.public.summary_view import SummaryView
from tracker.query.key_report import key_report, last_step
from tracker.query.run_files import RunFiles
from tracker.query.runs import RunRecord, load_runs, stream_files, visible_files
from tracker.query.snapshot import Snapshot
from tracker.query.system_rows import last_system_metrics
from tracker.sdk import term
from tracker.storage.edits import Edit
from tracker.storage.events import KIND_CONFIG, KIND_META, KIND_SUMMARY, unflatten
from tracker.storage.names import RunRef, run_prefix

__all__ = ["Run"]

_INTERNAL_CONFIG: Final = ("_wandb", "wandb_version")
_FILES_DIR: Final = "tracker-files"


class Run(HistoryCalls, LifeCalls, RunFileCalls, RunControl, CompareCalls, RunView, Attrs):
    """A stored run. It shows what was known when it was loaded; history is always read fresh.

    Fields that can be set (name, notes, description, tags, group, job_type), config and summary change this object
    only, until `update` stores them.
    """

    id: str
    name: str
    state: str
    tags: list[str]

    def __init__(
        self,
        client: RetryingClient,
        entity: str,
        project: str,
        run_id: str,
        attrs: Mapping[str, Any] | None = None,
        include_sweeps: bool = True,
    ) -> None:
        """The run `entity/project/run_id`. `attrs` is what is known of it already; without it, it is loaded.

        Raises:
            NoSuchRun: the store has no such run.
        """
        self.client = client
        self._ref = RunRef(entity, project, run_id)
        self._include_sweeps = include_sweeps
        self._snapshot: Snapshot | None = None
        self._record: RunRecord | None = None
        self.id = run_id
        if attrs:
            self._show(attrs["record"], attrs["snapshot"])
        else:
            self.load(force=True)

    # what the run is

    def load(self, force: bool = False) -> RunRecord:
        """The run's record, read again when `force` is set (RUN-15).

        Raises:
            NoSuchRun: the store has no such run (any more).
        """
        if force or self._record is None:
            snapshot = self._open()
            found = load_runs(snapshot, [self.id])
            if not found:  # deleted
                raise NoSuchRun(f"could not find run {self._shown()}")
            self._show(found[0], snapshot)
        assert self._record is not None
        return self._record

    def _show(self, record: RunRecord, snapshot: Snapshot) -> None:
        self._record, self._snapshot = record, snapshot
        self.state = record.state
        self.name, self.notes, self.tags, self.group, self.job_type = _fields(record).values()
        self.description = self.notes
        self._config: dict[str, Any] | None = None
        self._summary: dict[str, Any] | None = None
        if record.generations > 1:
            term.warn(
                f"{self._shown()} was started anew while it was still being written: {record.generations} lives of it "
                "overlap, and all of them are shown"
            )

    @property
    def _loaded(self) -> RunRecord:
        return self.load()

    @property
    def entity(self) -> str:
        return self._ref.entity

    @property
    def project(self) -> str:
        return self._ref.project

    @property
    def path(self) -> list[str]:
        """Entity, project and id, each URL-quoted."""
        return [quote(part) for part in (self.entity, self.project, self.id)]

    @property
    def url(self) -> str:
        """Where the run's data lies."""
        return self.client.url_of(run_prefix(self._ref))

    @property
    def storage_id(self) -> str:
        """Where the run's data lies below the root."""
        return run_prefix(self._ref).rstrip("/")

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, nested, without internal keys. A copy of this object's own."""
        if self._config is None:
            self._config = _without_internal(self.rawconfig)
        return self._config

    @property
    def summary(self) -> SummaryView:
        """Final values, dict-like. A copy of this object's own."""
        if self._summary is None:
            self._summary = self.summary_metrics
        return SummaryView(self._summary, self._update_summary)

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """Final values, plain and nested."""
        return copy.deepcopy(self._loaded.summary)

    @property
    def system_metrics(self) -> dict[str, Any]:
        """The newest value of each system metric, keyed `system.<name>`."""
        self.load()
        assert self._snapshot is not None
        return last_system_metrics(stream_files(self._snapshot, [self.id])[0])

    @property
    def rawconfig(self) -> dict[str, Any]:
        """The config with its internal keys: `_wandb` says where the run was forked or rewound (FORK-2), and what
        was said of its metrics (MET-13).
        """
        config = copy.deepcopy(self._loaded.config)
        internal = internal_config(self._loaded.live)
        if internal:
            logged = config.get(_INTERNAL_CONFIG[0])
            config[_INTERNAL_CONFIG[0]] = {**logged, **internal} if isinstance(logged, dict) else internal
        return config

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """What `define_metric` said, by name (a stored key, or its beginning and `*`): of `step_metric`, `step_sync`,
        `hidden`, `summary` and `goal` what holds.
        """
        return dict(internal_config(self._loaded.live).get("metrics", {}))

    @property
    def json_config(self) -> str:
        """The config as JSON, each value wrapped as `{"value": ...}`."""
        return json.dumps({key: {"value": value} for key, value in self.rawconfig.items()})

    @property
    def created_at(self) -> str:
        """ISO 8601, UTC."""
        return _iso(self._loaded.created_at_us)

    @property
    def heartbeat_at(self) -> str:
        """When the run last said anything: ISO 8601, UTC."""
        return _iso(self._loaded.heartbeat_at_us)

    @property
    def duration(self) -> float:
        """Seconds from start to the last row, or to the last sign of life."""
        return self._loaded.duration_s

    @property
    def username(self) -> str | None:
        """The operating system's user that made the run."""
        return self._loaded.attrs.get("username")

    @property
    def host(self) -> str | None:
        return self._loaded.attrs.get("host")

    @property
    def commit(self) -> str | None:
        return self._loaded.attrs.get("commit")

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What the run was made of: program, repository, machine (META-1); None where it is not known."""
        leaves = self._loaded.live.get(KIND_META)
        return copy.deepcopy(unflatten(sorted(leaves.items()))) if leaves else None

    @property
    def sweep(self) -> None:
        """None: this release has no sweeps."""
        return

    @property
    def sweep_name(self) -> str | None:
        """The id of the sweep that the run says it belongs to."""
        return self._loaded.attrs.get("sweep")

    @property
    def read_only(self) -> bool:
        """Whether `update` and `delete` are refused: this is the run at a time gone by."""
        return self.client.as_of_us is not None

    @property
    def dir(self) -> str:
        """A local directory for this run's downloads; it exists afterwards."""
        path = os.path.join(tempfile.gettempdir(), _FILES_DIR, *self.path)
        os.makedirs(path, exist_ok=True)
        return path

    @property
    def history_keys(self) -> dict[str, Any]:
        """`keys`: per metric its types, whether it never falls, its last value; `lastStep`; `sets` is empty."""
        return key_report(self._files())

    @property
    def lastHistoryStep(self) -> int:
        """Highest step with a row, -1 without history."""
        return last_step(self._files())

    # changing it

    @comm_errors
    def update(self) -> None:
        """Store what was changed here: tags, notes, name, group, job type, config, then the summary (RUN-8).

        Only that: what others change meanwhile in other fields, keys and leaves stays. The run is then loaded again.

        Raises:
            UsageError: the run is shown as of a time gone by.
            StorageUnavailable: whether it is stored is not known; calling again is safe.
        """
        before = _fields(self._loaded)
        notes = self.notes if self.notes != before["notes"] else self.description
        after = {
            "name": self.name,
            "notes": notes,
            "tags": self.tags and list(self.tags),
            "group": self.group,
            "job_type": self.job_type,
        }
        edits = attr_edits(self.id, before, after)
        if self._config is not None:
            edits += tree_edits(KIND_CONFIG, self.id, _without_internal(self._loaded.config), self._config)
        self._store([*edits, *self._summary_edits()])

    save = update

    @comm_errors
    def delete(self, delete_artifacts: bool = False) -> None:
        """Hide the run from every answer, with all that has begun of it, synced or not (RUN-9). Its data stays.

        `Api.restore` takes it back. A later session of the same id is a run of its own. `delete_artifacts` changes
        nothing: this release has no artifacts.

        Raises:
            UsageError: the run is shown as of a time gone by.
        """
        _ = delete_artifacts
        self.client.refuse_the_past()
        delete_runs(self._open(), [self.id], patience_s=self.client.patience_s)
        self.client.deletions += 1

    def _summary_edits(self) -> list[Edit]:
        if self._summary is None:
            return []
        return tree_edits(KIND_SUMMARY, self.id, self._loaded.summary, self._summary)

    def _update_summary(self) -> None:
        self._store(self._summary_edits())

    def _store(self, edits: list[Edit]) -> None:
        self.client.refuse_the_past()
        if edits:
            assert self._snapshot is not None
            write_edits(self._snapshot, edits, patience_s=self.client.patience_s)
            self.load(force=True)

    def _open(self) -> Snapshot:
        """This run as the store holds it now."""
        snapshot = self.client.snapshot(self.entity, self.project, self.id)
        if self.id not in snapshot.runs:
            raise NoSuchRun(f"could not find run {self._shown()}")
        return snapshot

    def _files(self) -> RunFiles:
        """The run's files as of the last load."""
        self.load()
        assert self._snapshot is not None
        return visible_files(self._snapshot, [self.id])[0]

    def _shown(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    def __repr__(self) -> str:
        return f"<Run {self._shown()} ({self.state})>"


def _fields(record: RunRecord) -> dict[str, Any]:
    """What can be set, as it is shown: name, notes, tags, group, job_type, in this order."""
    attrs = record.attrs
    return {
        "name": str(attrs.get("name") or record.run_id),
        "notes": attrs.get("notes"),
        "tags": record.tags,
        "group": attrs.get("group"),
        "job_type": attrs.get("job_type"),
    }


def _without_internal(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _INTERNAL_CONFIG}


def _iso(time_us: int) -> str:
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"
