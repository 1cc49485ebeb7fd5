"""Where a file that a store names goes on the local disk: below the folder that was asked for, and nowhere else.

Names come from whoever wrote the store, so they are not to be trusted: a name must not lead out of the folder, by
itself or by a link that lies there, and two names must not become one file.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from tracker.storage.errors import UsageError
from tracker.storage.keys import TEMPORARY

__all__ = ["RefusedTarget", "target_of", "targets_of"]

_SEGMENT_BYTES_MAX: Final = 255
_DRIVE: Final = re.compile(r"[A-Za-z]:([\\/]|$)")


class RefusedTarget(UsageError, ValueError):
    """A file cannot, or must not, be written where its name says."""


def target_of(root: Path, name: str) -> Path:
    """`root/name`. Nothing is made.

    Raises:
        RefusedTarget: it would not lie below `root`, as a name with `..`, an absolute one, one with a drive letter, or
            one below a link that leads elsewhere; or no disk holds such a name.
    """
    target = _plain_target(root, name)
    _check_links(root, target.parent)
    return target


def targets_of(root: Path, names: Sequence[str]) -> list[Path]:
    """As `target_of`, of each; all of them can be there at once.

    Raises:
        RefusedTarget: as `target_of`; or two of the names are one on this disk, or one is the folder of another.
    """
    targets = [_plain_target(root, name) for name in names]
    for folder in {target.parent for target in targets}:
        _check_links(root, folder)
    for one, other in _clashes(names):
        if set(_with_folders(one)) & {other} or set(_with_folders(other)) & {one} or _is_one(root, one, other):
            raise RefusedTarget(
                f"{one!r} and {other!r} cannot both lie in {root}: one of them takes the other's place there. "
                "Download them into different folders, by name."
            )
    return targets


def _plain_target(root: Path, name: str) -> Path:
    """As `target_of`, whatever lies on the disk."""
    segments = name.split("/")
    led_out = {"", ".", ".."}.intersection(segments) or ".." in name.split("\\") or name.startswith("\\")
    if led_out or _DRIVE.match(name):
        raise RefusedTarget(f"The name {name!r} would leave {root}, or is none of a file. It is not downloaded.")
    try:
        lengths = [len(os.fsencode(segment)) for segment in segments]
    except UnicodeEncodeError:
        raise RefusedTarget(f"No file on this disk can have the name {name!r}. It is not downloaded.") from None
    if "\0" in name or max(lengths) > _SEGMENT_BYTES_MAX:
        raise RefusedTarget(f"No file on this disk can have the name {name!r:.300}. It is not downloaded.")
    return root.joinpath(*segments)


def _check_links(root: Path, folder: Path) -> None:
    """Raises RefusedTarget where `folder` is not below `root`, because of a link on the way."""
    here, there = os.path.realpath(root), os.path.realpath(folder)
    if os.path.commonpath([here, there]) != here:
        raise RefusedTarget(f"Files in {folder} would lie in {there}, where a link in {root} leads. Remove the link.")


def _clashes(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of names that may need one place on some disk."""
    holders: dict[str, list[str]] = defaultdict(list)  # who is, or lies below, a folded path
    for name in names:
        holders[_folded(name)].append(name)
    for path, found in list(holders.items()):
        yield from pairwise(found)
        for folder in _with_folders(path)[1:]:
            if folder in holders:
                yield holders[folder][0], found[0]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _with_folders(name: str) -> list[str]:
    """`a/b/c`, `a/b`, `a`."""
    segments = name.split("/")
    return ["/".join(segments[:count]) for count in range(len(segments), 0, -1)]


def _is_one(root: Path, one: str, other: str) -> bool:
    """Whether the disk takes two names that differ only in case or in how their letters are composed for one."""
    root.mkdir(parents=True, exist_ok=True)
    probe = f"{TEMPORARY}\u00e9a{os.urandom(8).hex()}"
    path = root / probe
    path.touch()
    try:
        alike = (probe.swapcase(), unicodedata.normalize("NFD", probe))
        return one != other and any(os.path.lexists(root / name) for name in alike)
    finally:
        path.unlink(missing_ok=True)
