"""What was changed of a public `Run` on this object, and storing it. Nothing that others change elsewhere is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.failures import comm_errors
from tracker.apis.public.run_edits import attr_edits, tree_edits, write_edits
from tracker.apis.public.summary_view import SummaryView
from tracker.apis.public.tag_edits import write_with_tags
from tracker.apis.public.three_ways import alike, as_tags, copy_tree, merge_into, merge_tags
from tracker.query.runs import RunRecord
from tracker.storage.edits import Edit
from tracker.storage.events import KIND_CONFIG, KIND_SUMMARY

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.apis.public.guard import Guard
    from tracker.query.snapshot import Snapshot

__all__ = ["INTERNAL_CONFIG", "ChangeCalls"]

_Read = tuple["Snapshot", RunRecord]

INTERNAL_CONFIG: Final = ("_wandb", "wandb_version")


@dataclass(frozen=True, slots=True)
class _Held:
    """Fields by name, config and summary, as they were at one moment."""

    fields: dict[str, Any]
    config: dict[str, Any]
    summary: dict[str, Any]


class ChangeCalls:
    """Part of `Run`, which loads the record."""

    id: str
    client: RetryingClient
    name: str
    notes: str | None
    tags: list[str]
    group: str | None
    job_type: str | None

    _config: dict[str, Any] | None
    _summary: dict[str, Any] | None
    _guard: Guard  # of what this object holds: never kept over a request
    _storing: Guard  # of storing it: one call at a time

    if TYPE_CHECKING:

        @property
        def _loaded(self) -> RunRecord: ...
        @property
        def rawconfig(self) -> dict[str, Any]: ...
        @property
        def summary_metrics(self) -> dict[str, Any]: ...
        def _seen(self) -> Snapshot: ...
        def _read(self) -> tuple[Snapshot, RunRecord]: ...
        def _hold(self, record: RunRecord, snapshot: Snapshot) -> None: ...

    @property
    def display_name(self) -> str:
        """The name that is shown: `name`."""
        return self.name

    @display_name.setter
    def display_name(self, name: str) -> None:
        self.name = name

    @property
    def displayName(self) -> str:
        """The name that is shown: `name`."""
        return self.name

    @displayName.setter
    def displayName(self, name: str) -> None:
        self.name = name

    @property
    def jobType(self) -> str | None:
        """`job_type`."""
        return self.job_type

    @jobType.setter
    def jobType(self, job_type: str | None) -> None:
        self.job_type = job_type

    @property
    def description(self) -> str | None:
        """The notes."""
        return self.notes

    @description.setter
    def description(self, text: str | None) -> None:
        self.notes = text

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, nested, without internal keys. A copy of this object's own."""
        with self._guard:
            if self._config is None:
                self._config = _without_internal(self.rawconfig)
            return self._config

    @config.setter
    def config(self, config: Mapping[str, Any]) -> None:
        self._config = dict(config)

    @property
    def summary(self) -> SummaryView:
        """Final values, dict-like. A copy of this object's own."""
        with self._guard:
            if self._summary is None:
                self._summary = self.summary_metrics
            return SummaryView(self._summary, self._update_summary)

    @comm_errors
    def update(self) -> None:
        """Store what was changed here: tags, notes, name, group, job type, config, then the summary (RUN-8).

        Only that: what others change meanwhile in other fields, keys and leaves stays, and so do tags that they add or
        remove. Afterwards the run is shown as the store has it.

        Raises:
            UsageError: the run is shown as of a time gone by.
            StorageUnavailable: whether it is stored is not known; calling again is safe.
        """
        self.client.refuse_the_past()
        with self._storing:
            with self._guard:
                before, mine = self._settled(), self._mine()
            fields = {name: value for name, value in mine.fields.items() if name != "tags"}
            edits = attr_edits(self.id, before.fields, fields)
            edits += tree_edits(KIND_CONFIG, self.id, before.config, mine.config)
            edits += tree_edits(KIND_SUMMARY, self.id, before.summary, mine.summary)
            newest = self._write(edits, before.fields["tags"], mine.fields["tags"])
            if edits or newest is not None:
                self._refresh(mine, newest)

    save = update

    def store_edits(self, edits: list[Edit]) -> None:
        """Store what changes this run elsewhere, and show it. What was changed here stays. Not for users."""
        self.client.refuse_the_past()
        if edits:
            with self._storing:
                self._write(edits)
                self._refresh()

    def _update_summary(self) -> None:
        self.client.refuse_the_past()
        with self._storing:
            with self._guard:
                before, mine = self._settled(), self._mine()
            edits = tree_edits(KIND_SUMMARY, self.id, before.summary, mine.summary)
            if edits:
                self._write(edits)
                self._refresh(replace(before, summary=mine.summary))

    def _write(self, edits: list[Edit], settled: Sequence[str] = (), tags: Sequence[str] = ()) -> _Read | None:
        """Store edits, and what makes the tags `settled` these. What was read afterwards, where anything was."""
        patience_s = self.client.patience_s
        if list(settled) == list(tags):
            if edits:
                write_edits(self._seen(), edits, patience_s=patience_s)
            return None
        newest = None

        def read() -> tuple[Snapshot, list[str]]:
            nonlocal newest
            newest = self._read()
            return newest[0], newest[1].tags

        write_with_tags(self.id, edits, settled, tags, read, patience_s=patience_s)
        return newest

    def _show_all(self, record: RunRecord) -> None:
        """All of it as it is stored: what was changed here and not stored is dropped."""
        self._config = self._summary = None
        for name, value in _fields(record).items():
            setattr(self, name, value)

    def _refresh(self, stored: _Held | None = None, newest: _Read | None = None) -> None:
        """The run as the store has it now (`newest`: as it was read); what was changed here and is not among what was
        `stored` stays.
        """
        snapshot, record = newest or self._read()
        with self._guard:
            settled, theirs = stored or self._settled(), _held(record)
            self._hold(record, snapshot)
            for name, value in theirs.fields.items():
                if name == "tags":
                    self._show_tags(merge_tags(settled.fields["tags"], as_tags(self.tags), value))
                elif alike(getattr(self, name), settled.fields[name]):
                    setattr(self, name, value)
            if self._config is not None:
                merge_into(self._config, settled.config, theirs.config)
            if self._summary is not None:
                merge_into(self._summary, settled.summary, theirs.summary)

    def _show_tags(self, tags: list[str]) -> None:
        held: Any = self.tags  # whatever somebody set
        if isinstance(held, list):
            held[:] = tags
        else:
            self.tags = tags

    def _settled(self) -> _Held:
        """As the run was loaded."""
        return _held(self._loaded)

    def _mine(self) -> _Held:
        """As it is here."""
        settled = self._settled()
        fields = {name: getattr(self, name) for name in settled.fields}
        return _Held(
            fields | {"tags": as_tags(self.tags)},
            settled.config if self._config is None else copy_tree(self._config),
            settled.summary if self._summary is None else copy_tree(self._summary),
        )


def _held(record: RunRecord) -> _Held:
    return _Held(_fields(record), _without_internal(record.config), record.summary)


def _fields(record: RunRecord) -> dict[str, Any]:
    """What can be set, as it is shown."""
    attrs = record.attrs
    return {
        "name": str(attrs.get("name") or record.run_id),
        "notes": attrs.get("notes"),
        "tags": record.tags,
        "group": attrs.get("group"),
        "job_type": attrs.get("job_type"),
    }


def _without_internal(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in INTERNAL_CONFIG}
