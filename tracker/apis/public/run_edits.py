"""Changing, deleting and restoring runs that this process does not write: edits, in the store when a call returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tracker.apis.public.failures import NoSuchRun
from tracker.query.runs import load_runs
from tracker.query.snapshot import Snapshot
from tracker.sdk.facts import path_of, text_keys
from tracker.sdk.values import config_value, summary_value
from tracker.storage.edits import Edit, delete_edit, edit_writer, restore_edit
from tracker.storage.events import DELETED, KIND_ATTR, KIND_CONFIG, KIND_SUMMARY, encode_cell, flatten
from tracker.storage.writer import CLOCK

__all__ = ["attr_edits", "delete_runs", "observe", "restore_runs", "tree_edits", "write_edits"]

_PATIENCE_S: Final = 20.0
_VALUES: Final[dict[str, Callable[[Any, str], Any]]] = {KIND_CONFIG: config_value, KIND_SUMMARY: summary_value}


def observe(snapshot: Snapshot) -> None:
    """What this process writes from now on is later than all that `snapshot` shows."""
    CLOCK.observe(snapshot.hlc_max_us, snapshot.store_now_us)


def write_edits(snapshot: Snapshot, edits: Sequence[Edit], *, patience_s: float = _PATIENCE_S) -> int:
    """Store `edits` about runs of `snapshot`, which has been read before: they win over what it shows.

    Of several roots they go to those that have the run: to each copy of it. Returns their stamp (us).

    Raises:
        StorageUnavailable: the store did not answer for `patience_s` seconds; whether they count is not known.
        CredentialsMissing: the store refused us.
    """
    observe(snapshot)
    stamps = [0]
    for root, mine in snapshot.homes.of_all([run_id for _, run_id, _, _ in edits]):
        writer = edit_writer(root, snapshot.entity, snapshot.project)
        stamps.append(writer.write([edit for edit in edits if edit[1] in mine], patience_s=patience_s))
    return max(stamps)


def delete_runs(snapshot: Snapshot, run_ids: Sequence[str], *, patience_s: float = _PATIENCE_S) -> None:
    """Hide these runs from every answer, with all that has begun of them, synced or not. Their data stays.

    All of them at once, or on an error none (of several roots: none of those in the root that failed).

    Raises:
        NoSuchRun: `snapshot` shows no such run.
        StorageUnavailable, CredentialsMissing: as `write_edits`.
    """
    shown = {record.run_id for record in load_runs(snapshot, run_ids)}
    _refuse_unknown(snapshot, run_ids, shown)
    observe(snapshot)
    edits: list[Edit] = []
    for run_id in run_ids:
        parts = snapshot.runs[run_id].parts
        ahead = {part.writer_id for part in parts if part.hlc_max_us > CLOCK.last_us}
        edits += delete_edit(run_id, sorted(ahead))
    write_edits(snapshot, edits, patience_s=patience_s)


def restore_runs(snapshot: Snapshot, run_ids: Sequence[str], *, patience_s: float = _PATIENCE_S) -> None:
    """Show these runs again, as if they had never been deleted.

    Raises:
        NoSuchRun: the store has nothing of such a run.
        StorageUnavailable, CredentialsMissing: as `write_edits`.
    """
    _refuse_unknown(snapshot, run_ids, snapshot.runs)
    edits = [edit for run_id in run_ids for edit in restore_edit(run_id)]
    write_edits(snapshot, edits, patience_s=patience_s)


def attr_edits(run_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Edit]:
    """What of `after` differs from `before`, both attributes by name; None takes an attribute back."""
    return [
        (KIND_ATTR, run_id, path_of((name,), "run attribute"), DELETED if value is None else value)
        for name, value in after.items()
        if value != before.get(name)
    ]


def tree_edits(kind: str, run_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Edit]:
    """What makes `before` `after`, leaf by leaf, both nested: what somebody else changes meanwhile elsewhere stays.

    Raises:
        TypeError: a value without a stored form. UsageError: an empty key.
    """
    old, new = _leaves(kind, before), _leaves(kind, after)
    edits: list[Edit] = [(kind, run_id, path, DELETED) for path in old if path not in new]
    edits += [
        (kind, run_id, path, value) for path, value in new.items() if path not in old or _differ(value, old[path])
    ]
    return edits


def _leaves(kind: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    plain = {}
    for key, value in tree.items():
        path_of((str(key),), kind)
        plain[str(key)] = _VALUES[kind](value, str(key))
    return dict(flatten(text_keys(plain, kind)))


def _differ(value: Any, other: Any) -> bool:
    """As stored: 1 is not 1.0, nor True; NaN is itself."""
    return repr(encode_cell(value)) != repr(encode_cell(other))


def _refuse_unknown(snapshot: Snapshot, run_ids: Sequence[str], known: Mapping[str, Any] | set[str]) -> None:
    missing = [run_id for run_id in run_ids if run_id not in known]
    if missing:
        where = f"{snapshot.entity}/{snapshot.project}"
        names = ", ".join(f"{where}/{run_id}" for run_id in missing[:5])
        raise NoSuchRun(f"could not find run {names}" + (f" and {len(missing) - 5} more" if missing[5:] else ""))
