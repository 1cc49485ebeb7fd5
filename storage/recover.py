"""Completes the log of a process that died: its open row is closed, its files are kept, and all of it is shipped."""

from __future__ import annotations

from collections.abc import Callable

from tracker.storage.file_notes import FileNotes
from tracker.storage.recover_files import files_left
from tracker.storage.shipper import Shipper
from tracker.storage.spool import Spool
from tracker.storage.writer import append_facts, close_open_row

__all__ = ["keep_files", "ship_all"]

_FACTS_MAX = 1000  # in one frame


def ship_all(spool: Spool, shipper: Shipper, notify: Callable[[str, str], None]) -> None:
    """The store has the whole log of a process that is gone, and what that process could not write any more.

    The caller owns the spool. Raises as the store; can then be called again.
    """
    _drain(shipper)
    state = shipper.state
    if state.finished:
        return
    if state.open_row is not None:
        close_open_row(spool, state)
        _drain(shipper)
    keep_files(spool, shipper, notify)


def keep_files(spool: Spool, shipper: Shipper, notify: Callable[[str, str], None]) -> None:
    """The store has the files that the process had no time to name in its log, all of which is shipped.

    As a rule there are none. The caller owns the spool. Raises as the store; can then be called again.
    """
    left = files_left(spool, notify)
    notes = FileNotes(spool.path)
    for at in range(0, len(left), _FACTS_MAX):
        files = left[at : at + _FACTS_MAX]
        append_facts(spool, shipper.state, [fact.row for fact, _ in files])
        for fact, mtime_ns in files:
            notes.logged(fact, mtime_ns)
        _drain(shipper)


def _drain(shipper: Shipper) -> None:
    while shipper.ship_once(writer_gone=True):
        continue
