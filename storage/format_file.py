"""`_format.json` at the root: which format the store has, so that an old tracker never guesses at a new one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final, Protocol

from tracker.storage.errors import CorruptData, FormatTooNew, KeyTaken, NotFound
from tracker.storage.names import FORMAT_KEY
from tracker.storage.port import Get, PutIfAbsent
from tracker.storage.union_store import UnionStore

__all__ = ["PACKS", "ROOT_FORMAT", "check_format", "check_format_once", "ensure_format", "requires_feature"]

ROOT_FORMAT: Final = 1
PACKS: Final = "packs"  # whoever reads this root must know packs, or would silently see less
_FEATURES: Final = (PACKS,)  # of the roots that this version makes
_FEATURES_KNOWN: Final = frozenset(_FEATURES)  # every name here is a promise to read stores that need it


_seen: set[str] = set()


class _GetAndPut(Get, PutIfAbsent, Protocol):
    """What the writer's side needs of a store."""

    url: str


class _GetOnly(Get, Protocol):
    url: str


def ensure_format(store: _GetAndPut) -> None:
    """The store says its format, and this tracker may write it. One GET where it says so already.

    Raises:
        FormatTooNew: a newer tracker made this root, and needs what this one does not know.
        CorruptData: the file is there, but no format file.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    if check_format(store):
        return
    try:
        store.put_if_absent(FORMAT_KEY, _content())
    except KeyTaken:  # somebody else was first, perhaps another version: what stands there counts
        check_format(store)


def requires_feature(store: _GetOnly, feature: str) -> bool:
    """Whether every reader of this root must know `feature`; only then may it be used there."""
    try:
        raw = store.get(FORMAT_KEY)
    except NotFound:
        return False
    return feature in _parse(raw, f"{store.url}/{FORMAT_KEY}")[1]


def check_format(store: _GetOnly) -> bool:
    """True: the store's format is one that this tracker reads. False: it does not say (nothing was written yet).

    Raises: as `ensure_format`.
    """
    try:
        raw = store.get(FORMAT_KEY)
    except NotFound:
        return False
    version, features = _parse(raw, f"{store.url}/{FORMAT_KEY}")
    unknown = sorted(set(features) - _FEATURES_KNOWN)
    if version > ROOT_FORMAT or unknown:
        needs = f"format {version}" if version > ROOT_FORMAT else f"the features {', '.join(unknown)}"
        raise FormatTooNew(
            f"{store.url} was written by a newer tracker and needs {needs}; this one knows format {ROOT_FORMAT}. "
            "Run: pip install -U tracker"
        )
    return True


def check_format_once(store: _GetOnly) -> None:
    """As `check_format`, for readers: a root that said its format is not asked again by this process."""
    for root in store.roots if isinstance(store, UnionStore) else (store,):
        if root.url not in _seen and check_format(root):
            _seen.add(root.url)


def _content() -> bytes:
    try:
        version = metadata.version("tracker")
    except metadata.PackageNotFoundError:
        version = "unknown"
    content = {"format": ROOT_FORMAT, "required_features": list(_FEATURES), "created_by": f"tracker {version}"}
    return json.dumps(content).encode()


def _parse(raw: bytes, name: str) -> tuple[int, Sequence[str]]:
    try:
        read: Any = json.loads(raw)
        version, features = read["format"], read.get("required_features", [])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _not_ours(name, raw) from None
    if type(version) is not int or not isinstance(features, list) or not all(isinstance(one, str) for one in features):
        raise _not_ours(name, raw)
    return version, features


def _not_ours(name: str, raw: bytes) -> CorruptData:
    return CorruptData(f"{name} is not tracker's format file ({raw[:60]!r}). Check that this is the right root.")
