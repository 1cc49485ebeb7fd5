"""Rules of the protocol, broken one at a time in the real code: the simulation must see each of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

from tracker.storage import shipper
from tracker.storage.choose import Choice, choose_files
from tracker.storage.errors import StorageUnavailable
from tracker.storage.shipper import Shipper
from tracker.storage.spool import Spool
from tracker.storage.wal import list_segments

__all__ = ["BROKEN"]


@contextlib.contextmanager
def _readers_choose(change: Callable[[Choice], Choice]) -> Iterator[None]:
    """Readers get another choice of files."""
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("tracker.query.") and getattr(module, "choose_files", None) is choose_files:
                stack.enter_context(
                    mock.patch.object(module, "choose_files", lambda *given: change(choose_files(*given)))
                )
        yield


def whole_files() -> AbstractContextManager[None]:
    """A file of which only the end counts is read from its beginning."""
    return _readers_choose(
        lambda choice: replace(choice, picks=tuple(replace(p, first=p.parts[0].first) for p in choice.picks))
    )


@contextlib.contextmanager
def holes_ignored() -> Iterator[None]:
    """Writers delete before they put, and readers take what they find in front of a hole."""
    with deleted_before_covered(), _readers_choose(lambda choice: replace(choice, holes=())):
        yield


@contextlib.contextmanager
def deleted_before_covered() -> Iterator[None]:
    """What a merge replaces is deleted before its result is put."""
    merge = shipper.merge_parts

    def eager(keys: Any, get: Any, *rest: Any, **named: Any) -> Any:
        merged = merge(keys, get, *rest, **named)
        get.__self__._store.delete(keys)
        return merged

    with mock.patch.object(shipper, "merge_parts", eager):
        yield


@contextlib.contextmanager
def commit_first() -> Iterator[None]:
    """The f file of a set is put before the others."""
    merge = shipper.merge_parts

    def backwards(*given: Any, **named: Any) -> Any:
        return list(reversed(merge(*given, **named)))

    with mock.patch.object(shipper, "merge_parts", backwards):
        yield


@contextlib.contextmanager
def noted_before_stored() -> Iterator[None]:
    """A put that failed counts as done."""
    put = Shipper._put

    def hopeful(self: Shipper, *given: Any) -> None:
        with contextlib.suppress(StorageUnavailable):
            put(self, *given)

    with mock.patch.object(Shipper, "_put", hopeful):
        yield


@contextlib.contextmanager
def other_frames_under_one_number() -> Iterator[None]:
    """Sync takes the log of a process that lives."""

    def careless(self: Spool) -> bool:
        return True

    with mock.patch.object(Spool, "try_adopt", careless):
        yield


@contextlib.contextmanager
def segments_removed_early() -> Iterator[None]:
    """Log segments go before the store has acknowledged them."""
    ship_once = Shipper.ship_once

    def forgetful(self: Shipper, **given: Any) -> int:
        for _, path in list_segments(self._spool.path)[:-1]:
            path.unlink()
        return ship_once(self, **given)

    with mock.patch.object(Shipper, "ship_once", forgetful):
        yield


BROKEN: dict[str, tuple[Callable[[], AbstractContextManager[None]], str]] = {
    "whole files": (whole_files, "twice"),
    "holes ignored": (holes_ignored, "acknowledged missing"),
    "deleted before covered": (deleted_before_covered, "unreadable"),
    "commit file first": (commit_first, "gave up"),
    "noted before stored": (noted_before_stored, "missing"),
    "log of a living process taken": (other_frames_under_one_number, "invented"),
    "segments removed early": (segments_removed_early, "missing"),
}
