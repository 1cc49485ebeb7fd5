"""Rules of the protocol, broken one at a time in the real code: the simulation must see each of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

from simulate_port import here
from simulate_world import GRACE_S

from tracker.storage import pack_publish, vacuum
from tracker.storage.choose import Choice, choose_files, missing_families
from tracker.storage.errors import StorageUnavailable
from tracker.storage.manifest import PurgedRun
from tracker.storage.names import packs_prefix, parse_pack_key
from tracker.storage.own_merges import OwnMerges
from tracker.storage.pack_delete import find_orphans
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
    put_all = OwnMerges._put_all

    def eager(self: OwnMerges, merge: Any, *rest: Any) -> None:
        self._store.delete([self._prefix + name for name in merge.old])  # type: ignore[attr-defined]
        put_all(self, merge, *rest)

    with mock.patch.object(OwnMerges, "_put_all", eager):
        yield


@contextlib.contextmanager
def commit_first() -> Iterator[None]:
    """The f file of a set is put before the others, and its footer does not say which those are."""
    put_all = OwnMerges._put_all

    def backwards(self: OwnMerges, merge: Any, *rest: Any) -> None:
        if merge.put == 0:
            merge.files.reverse()
        put_all(self, merge, *rest)

    with mock.patch.object(OwnMerges, "_put_all", backwards), _footers_say_nothing():
        yield


@contextlib.contextmanager
def _footers_say_nothing() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("tracker.") and getattr(module, "missing_families", None) is missing_families:
                stack.enter_context(mock.patch.object(module, "missing_families", return_value=""))
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


@contextlib.contextmanager
def packs_not_subtracted() -> Iterator[None]:
    """Readers take loose files although packs hold their frames."""
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("tracker.query.") and getattr(module, "choose_files", None) is choose_files:
                stack.enter_context(mock.patch.object(module, "choose_files", lambda names, *_: choose_files(names)))
        yield


@contextlib.contextmanager
def orphans_deleted_at_once() -> Iterator[None]:
    """Packs that no manifest names are deleted without a manifest that says so first: their packer only stalled."""
    load, publish = vacuum.load_state, pack_publish.publish

    def eager(store: Any, entity: str, project: str, *rest: Any) -> Any:
        listed = store.list(packs_prefix(entity, project))
        state = load(store, entity, project, *rest)
        orphans = find_orphans(state, listed, 1 << 60, 0)
        store.delete([info.key for info in listed if (parse_pack_key(info.key) or ("", ""))[0] in orphans])
        return state

    def late(*given: Any) -> Any:
        here().request("sleep", 2 * GRACE_S)
        return publish(*given)

    with mock.patch.object(vacuum, "load_state", eager), mock.patch.object(pack_publish, "publish", late):
        yield


@contextlib.contextmanager
def purged_writers_by_name_only() -> Iterator[None]:
    """A purge hides nobody."""
    with mock.patch.object(PurgedRun, "hides", return_value=False):
        yield


MANY_PACKERS = {"compactor": 12, "another compactor": 12, "vacuum": 8, "writer": 3, "another writer": 3, "sync": 3}
Broken = tuple[Callable[[], AbstractContextManager[None]], str, range, Mapping[str, int]]
BROKEN: dict[str, Broken] = {  # what is broken, what must be seen of it, which seeds to try, who is busy
    "whole files": (whole_files, "twice", range(20), MANY_PACKERS),
    "holes ignored": (holes_ignored, "acknowledged missing", range(20), {}),
    "deleted before covered": (deleted_before_covered, "unreadable", range(20), {}),
    "commit file first": (commit_first, "missing", range(20), {}),
    "noted before stored": (noted_before_stored, "missing", range(20), MANY_PACKERS),
    "log of a living process taken": (other_frames_under_one_number, "invented", range(20), {}),
    "segments removed early": (segments_removed_early, "missing", range(20), {}),
    "packs not subtracted": (packs_not_subtracted, "twice", range(20), MANY_PACKERS),
    "orphans deleted at once": (orphans_deleted_at_once, "unreadable", range(5, 20), MANY_PACKERS),
    "a purge hides nobody": (purged_writers_by_name_only, "a purged writer shows", range(20), {}),
}
