"""The same change to several runs: which fields, tags, and leaves of config and summary become what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracker.apis.public.run_edits import attr_edits, tree_edits, write_edits
from tracker.apis.public.tag_edits import unseen_tags
from tracker.apis.public.three_ways import alike, copy_tree
from tracker.errors import NotFound, UsageError
from tracker.query.runs import RunRecord, load_runs
from tracker.query.snapshot import Snapshot
from tracker.storage.edits import Edit
from tracker.storage.events import KIND_CONFIG, KIND_SUMMARY, split_path

__all__ = ["FIELDS", "ChangedRun", "Changes", "change_runs", "plan_changes"]

FIELDS = ("name", "notes", "group", "job_type")

_TAGS = "tags"
_ROUNDS_MAX = 5
_NOTHING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What each of the runs is to become. Paths of config and summary are names joined by dots (`opt.lr`); where a run
    has a name with dots in it, that is meant.
    """

    fields: Mapping[str, str | None] = field(default_factory=dict)  # of FIELDS; None or "" takes it back
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    unset: Sequence[str] = ()  # paths below `config.` or `summary.` that go

    def __post_init__(self) -> None:
        """Raises UsageError where nothing is to change, or not what stands here can be changed."""
        unknown = [name for name in self.fields if name not in FIELDS]
        if unknown:
            raise UsageError(f"Field {unknown[0]!r} cannot be changed. Known: {', '.join(FIELDS)}.")
        both = sorted(set(self.add_tags) & set(self.remove_tags))
        if both:
            raise UsageError(f"Tag {both[0]!r} is to be added and removed. Choose one.")
        if not all([*self.add_tags, *self.remove_tags, *self.config, *self.summary]):
            raise UsageError("A tag, or a path of config or summary, is empty. Give it a name.")
        for path in self.unset:
            if path.partition(".")[0] not in (KIND_CONFIG, KIND_SUMMARY) or not path.partition(".")[2]:
                raise UsageError(f'"{path}" cannot be taken back. Write config.<path> or summary.<path>.')
        several = (self.fields, self.add_tags, self.remove_tags, self.config, self.summary, self.unset)
        if not any(several):
            raise UsageError("There is nothing to change. Say what the runs should become.")

    def of_tree(self, kind: str, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The config (summary) of a run as it is to be, of what it is. A copy."""
        after: dict[str, Any] = copy_tree(dict(tree))
        for path in self.unset:
            if path.startswith(f"{kind}."):
                _remove(after, path.partition(".")[2])
        for path, value in (self.config if kind == KIND_CONFIG else self.summary).items():
            _put(after, path, value)
        return after

    def of_tags(self, tags: Sequence[str]) -> list[str]:
        """Tags of a run as they are to be: what is added stands at the end, in its order."""
        kept = [tag for tag in tags if tag not in self.remove_tags]
        return list(dict.fromkeys([*kept, *self.add_tags]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRun:
    """What changes in one run: name or path to (before, after), None where there is nothing."""

    run_id: str
    changes: dict[str, tuple[Any, Any]]
    edits: list[Edit]


def plan_changes(records: Sequence[RunRecord], changes: Changes) -> list[ChangedRun]:
    """What becomes of each run; one that is so already has no changes. Nothing is written."""
    return [_plan(record, changes) for record in records]


def change_runs(
    run_ids: Sequence[str], changes: Changes, read: Callable[[], Snapshot], *, patience_s: float = 20.0
) -> list[ChangedRun]:
    """Store the changes, of all runs at once or of none; what others change meanwhile in other fields, keys, leaves
    and tags stays. `read` gives the project as it is now.

    Raises:
        NotFound: there is no such run. Nothing was changed.
        StorageUnavailable: whether they are stored is not known; calling again is safe.
        CredentialsMissing: the store refused us.
    """
    before = read()
    records = load_runs(before, run_ids)
    known = {record.run_id: record for record in records}
    missing = [run_id for run_id in run_ids if run_id not in known]
    if missing:
        raise NotFound(f'There is no run "{missing[0]}" in {before.entity}/{before.project}.')
    planned = plan_changes(records, changes)
    edits = [edit for one in planned for edit in one.edits]
    tagged = [one.run_id for one in planned if _TAGS in one.changes]
    for _ in range(_ROUNDS_MAX):
        if not edits:
            break
        written_us = write_edits(before, edits, patience_s=patience_s)
        edits = []
        if tagged:  # a list of tags is written whole: join what others wrote of it without having seen ours
            after = read()
            for run_id in tagged:
                edits += _join_tags(known, after, before, run_id, changes, written_us)
            known = {record.run_id: record for record in load_runs(after, tagged)}
            before, tagged = after, [run_id for run_id in tagged if run_id in known]
    return planned


def _join_tags(
    known: Mapping[str, RunRecord], after: Snapshot, before: Snapshot, run_id: str, changes: Changes, written_us: int
) -> list[Edit]:
    shown = load_runs(after, [run_id])
    if not shown:
        return []
    merged = list(shown[0].tags)
    merged += unseen_tags(known[run_id].tags, merged, before, after, run_id, written_us)
    merged = changes.of_tags(merged)
    return attr_edits(run_id, {_TAGS: shown[0].tags}, {_TAGS: merged}) if set(merged) != set(shown[0].tags) else []


def _plan(record: RunRecord, changes: Changes) -> ChangedRun:
    before: dict[str, Any] = {name: record.attrs.get(name) for name in FIELDS} | {_TAGS: record.tags}
    after = before | {name: value or None for name, value in changes.fields.items()}
    after[_TAGS] = changes.of_tags(record.tags)
    edits = attr_edits(record.run_id, before, after)
    told = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    for kind, tree in ((KIND_CONFIG, record.config), (KIND_SUMMARY, record.summary)):
        wanted = changes.of_tree(kind, tree)
        edits += tree_edits(kind, record.run_id, tree, wanted)
        given = changes.config if kind == KIND_CONFIG else changes.summary
        gone = [path.partition(".")[2] for path in changes.unset if path.startswith(f"{kind}.")]
        for path in (*gone, *given):
            old, new = _at(tree, path), _at(wanted, path)
            if not alike(old, new):
                told[f"{kind}.{path}"] = (None if old is _NOTHING else old), (None if new is _NOTHING else new)
    return ChangedRun(run_id=record.run_id, changes=told if edits else {}, edits=edits)


def _names(tree: Mapping[str, Any], path: str) -> tuple[str, ...]:
    return (path,) if path in tree else split_path(path)


def _at(tree: Mapping[str, Any], path: str) -> Any:
    """What stands there, _NOTHING where nothing does."""
    found: Any = tree
    for name in _names(tree, path):
        if not isinstance(found, Mapping) or name not in found:
            return _NOTHING
        found = found[name]
    return found


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *above, name = _names(tree, path)
    for one in above:
        below = tree.get(one)
        if not isinstance(below, dict):
            below = tree[one] = {}
        tree = below
    tree[name] = value


def _remove(tree: dict[str, Any], path: str) -> None:
    *above, name = _names(tree, path)
    for one in above:
        below = tree.get(one)
        if not isinstance(below, dict):
            return
        tree = below
    tree.pop(name, None)
