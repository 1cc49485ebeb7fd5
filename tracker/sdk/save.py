"""`run.save`: which files a glob means, under which names, and their place in the run's directory."""

from __future__ import annotations

import glob
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracker.sdk import term

__all__ = ["SavePlan", "is_elsewhere", "place_files", "plan_save"]

_ELSEWHERE: Final = ("s3://", "gs://")


@dataclass(frozen=True, slots=True)
class SavePlan:
    """What one call of `save` means: `found` lies at these places, under these names relative to the base."""

    pattern: str  # the glob relative to the base: it is looked up in the run's directory too
    found: tuple[tuple[Path, str], ...]


def is_elsewhere(pattern: str) -> bool:
    """Whether it names a place on a remote store, whose files are not uploaded (SAVE-1)."""
    return pattern.startswith(_ELSEWHERE)


def plan_save(pattern: str, base_path: str | None, directory: Path) -> SavePlan:
    """Expand the glob now. `directory`: the run's own, whose files are part of the result anyway.

    Raises:
        ValueError: the glob lies above the base, equals it, or begins with a part that is `*` (SAVE-4).
    """
    whole = os.path.abspath(pattern)
    base = os.path.abspath(base_path) if base_path is not None else _base_of(pattern, whole)
    relative = os.path.relpath(whole, base)
    if relative == ".":
        raise ValueError(f"{pattern!r} is the base path itself. Name the files in it.")
    parts = Path(relative).parts
    if parts[0] == "..":
        raise ValueError(f"{pattern!r} lies above its base path {base}. Give a base_path that holds the files.")
    if parts[0] == "*":
        raise ValueError(
            f"{pattern!r}: a glob may not begin with '*' below its base path {base}. Name the first folder or file."
        )
    own = os.path.realpath(directory)
    found = []
    for place in sorted(glob.glob(whole, recursive=True)):
        if os.path.realpath(place) != own:
            found.append((Path(place), os.path.relpath(place, base)))
    return SavePlan(relative, tuple(found))


def place_files(plan: SavePlan, directory: Path, *, symlink: bool) -> list[str]:
    """The files have their places below `directory`, as links (or copies); all that the glob matches there, sorted.

    What cannot be placed is said, and left out.
    """
    for source, name in plan.found:
        target = directory / name
        try:
            _place(source, target, symlink)
        except OSError as exc:
            term.warn(f"{source} is not saved: {exc.strerror or exc}")
    return sorted(glob.glob(os.path.join(glob.escape(str(directory)), plan.pattern), recursive=True))


def _base_of(pattern: str, whole: str) -> str:
    if not os.path.isabs(pattern):
        return os.getcwd()
    base = os.path.dirname(os.path.dirname(whole))
    term.warn(
        f"save({pattern!r}) keeps the name of the folder only, as {os.path.relpath(whole, base)}. "
        "Give base_path to keep more of the path, or less."
    )
    return base


def _place(source: Path, target: Path, symlink: bool) -> None:
    """Nothing happens to a file that lies there already, or below `target`'s directory by another name of it."""
    if source.is_dir() and target.is_dir() and not target.is_symlink():
        for entry in sorted(source.iterdir()):
            _place(entry, target / entry.name, symlink)
        return
    if target.exists() and os.path.samefile(source, target) and (symlink or not target.is_symlink()):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}"[:200])
    try:
        if not symlink or not _linked(source, temporary):
            _copy(source, temporary)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        if temporary.is_symlink() or temporary.is_file():
            temporary.unlink()


def _linked(source: Path, link: Path) -> bool:
    try:
        link.symlink_to(source.absolute())
    except OSError:  # a file system without them
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
