"""One run as the public Api shows it: what it is, and its history."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import NoSuchProject, NoSuchRun
from tracker.apis.public.guard import Guard
from tracker.apis.public.internal_config import internal_config
from tracker.apis.public.run_changes import INTERNAL_CONFIG, ChangeCalls
from tracker.apis.public.run_compare import CompareCalls
from tracker.apis.public.run_control import RunControl
from tracker.apis.public.run_create import CreateCall
from tracker.apis.public.run_endings import EndCalls
from tracker.apis.public.run_events import EventCalls
from tracker.apis.public.run_file_calls import RunFileCalls
from tracker.apis.public.run_follow import FollowCalls
from tracker.apis.public.run_history import HistoryCalls
from tracker.apis.public.run_lives import LifeCalls
from tracker.apis.public.run_people import PeopleCalls
from tracker.apis.public.run_view import run_page
from tracker.query.instants import iso_micros
from tracker.query.key_report import key_report, last_step, row_count
from tracker.query.runs import RunRecord, load_runs, stream_files, visible_files
from tracker.query.snapshot import Snapshot
from tracker.query.system_rows import last_system_metrics
from tracker.sdk import term
from tracker.storage.events import KIND_META, unflatten
from tracker.storage.names import RunRef, run_prefix

__all__ = ["Run"]

_FILES_DIR: Final = "tracker-files"


class Run(
    ChangeCalls,
    CreateCall,
    EndCalls,
    EventCalls,
    HistoryCalls,
    FollowCalls,
    LifeCalls,
    RunFileCalls,
    RunControl,
    PeopleCalls,
    CompareCalls,
    Attrs,
):
    """A stored run. It shows what was known when it was loaded; history is always read fresh.

    Fields that can be set (name, notes, description, tags, group, job_type), config and summary change this object
    only, until `update` stores them. Threads may share it, and it can be sent to other processes.
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
        self._guard, self._storing = Guard(), Guard()
        self.id = run_id
        if attrs:
            self._hold(attrs["record"], attrs["snapshot"])
            self._show_all(attrs["record"])
        else:
            self.load(force=True)

    def __getstate__(self) -> dict[str, Any]:
        """What goes into another process: the record and what was changed here; files are looked for there."""
        return vars(self) | {"_snapshot": None}

    # what the run is

    def load(self, force: bool = False) -> RunRecord:
        """The run's record, read again when `force` is set (RUN-15): what was changed here and not stored is dropped.

        Raises:
            NoSuchRun: the store has no such run (any more).
        """
        if force or self._record is None:
            snapshot, record = self._read()
            with self._guard:
                self._hold(record, snapshot)
                self._show_all(record)
        assert self._record is not None
        return self._record

    def _read(self) -> tuple[Snapshot, RunRecord]:
        """The run as the store holds it now. Raises NoSuchRun."""
        snapshot = self._open()

        def again() -> Snapshot:
            nonlocal snapshot
            snapshot = self._open()
            return snapshot

        found = self.client.read(lambda now: load_runs(now, [self.id]), snapshot, again)
        if not found:  # deleted
            raise NoSuchRun(f"could not find run {self._shown()}")
        return snapshot, found[0]

    def _hold(self, record: RunRecord, snapshot: Snapshot) -> None:
        self._record, self._snapshot = record, snapshot
        self.state = record.state
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
    def summary_metrics(self) -> dict[str, Any]:
        """Final values, plain and nested."""
        return copy.deepcopy(self._loaded.summary)

    @property
    def system_metrics(self) -> dict[str, Any]:
        """The newest value of each system metric, keyed `system.<name>`."""
        read = self.client.read
        return read(lambda now: last_system_metrics(stream_files(now, [self.id])[0]), self._seen(), self._open)

    @property
    def rawconfig(self) -> dict[str, Any]:
        """The config with its internal keys: `_wandb` says where the run was forked or rewound (FORK-2), and what
        was said of its metrics (MET-13).
        """
        config = copy.deepcopy(self._loaded.config)
        internal = internal_config(self._loaded.live)
        if internal:
            logged = config.get(INTERNAL_CONFIG[0])
            config[INTERNAL_CONFIG[0]] = {**logged, **internal} if isinstance(logged, dict) else internal
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
        return iso_micros(self._loaded.created_at_us)

    @property
    def heartbeat_at(self) -> str:
        """When the run last said anything: ISO 8601, UTC."""
        return iso_micros(self._loaded.heartbeat_at_us)

    @property
    def duration(self) -> float:
        """Seconds from start to the last row, or to the last sign of life."""
        return self._loaded.duration_s

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
        """`keys`: per metric its types, whether it never falls, its last value; `lastStep`; `sets` is empty. As of the
        last load.
        """
        read = self.client.read
        return read(lambda now: key_report(visible_files(now, [self.id])[0]), self._seen(), self._open)

    @property
    def lastHistoryStep(self) -> int:
        """Highest step with a row, -1 without history. Asked of the store each time."""
        read = self.client.read
        return read(lambda now: last_step(visible_files(now, [self.id])[0]), self._open(), self._open)

    @property
    def history_line_count(self) -> int:
        """How many rows the history has. As of the last load."""
        read = self.client.read
        return read(lambda now: row_count(visible_files(now, [self.id])[0]), self._seen(), self._open)

    def _open(self) -> Snapshot:
        """This run as the store holds it now."""
        try:
            snapshot = self.client.snapshot(self.entity, self.project, self.id)
        except NoSuchProject as exc:
            raise NoSuchRun(f"could not find run {self._shown()}: {exc.__cause__ or exc}") from exc
        if self.id not in snapshot.runs:
            raise NoSuchRun(f"could not find run {self._shown()}")
        return snapshot

    def _seen(self) -> Snapshot:
        """The store as it was when the record was read; as it is now where this object came from another process."""
        snapshot = self._snapshot
        if snapshot is None:
            snapshot = self._snapshot = self._open()
        return snapshot

    def _shown(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    def _page(self) -> str:
        return run_page(self)

    def __repr__(self) -> str:
        return f"<Run {self._shown()} ({self.state})>"
