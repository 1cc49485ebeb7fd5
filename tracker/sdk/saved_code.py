"""Code that is kept with a run: the program, what its repository does not hold, folders by `log_code` (CODE-1..3)."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import term
from tracker.sdk.code_filters import WORKING
from tracker.sdk.git import find_git_root, read_commit
from tracker.sdk.metadata_parts import program_file

if TYPE_CHECKING:
    from tracker.sdk.files import FileStore
    from tracker.sdk.options import RunOptions

__all__ = [
    "CodeFiles",
    "Predicate",
    "code_name",
    "find_code",
    "save_program",
    "save_repository_diffs",
]

CODE_FOLDER: Final = "code"
_NAME_MAX: Final = 128
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_.\-]")
_NEVER_ENTERED: Final = frozenset({".git", "__pycache__", "node_modules"})
_ENVIRONMENT_MARKS: Final = ("pyvenv.cfg", "conda-meta")

Predicate = Callable[[str], bool] | Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class CodeFiles:
    """What `log_code` kept: named as W&B names such an artifact, its files below the run's `code/`."""

    name: str
    files: tuple[str, ...]  # relative to the root that was looked through, POSIX, sorted
    root: str
    type: str = "code"


def find_code(root: str, include: Predicate, exclude: Predicate) -> list[str]:
    """Files below `root` that `include` and not `exclude`, relative, POSIX, sorted.

    The functions get the absolute path, and `root` too where they take two arguments. Virtual environments,
    working directories, `.git` and caches are not looked into.
    """
    wants, refuses = _with_root(include, root), _with_root(exclude, root)
    found = [path for path in _files_below(root) if wants(path) and not refuses(path)]
    return sorted(PurePosixPath(*Path(os.path.relpath(path, root)).parts).as_posix() for path in found)


def code_name(project: str, program: str | None) -> str:
    """`source-<project>-<program path>`, cut to 128; characters that a name can not have become `_` (CODE-2)."""
    return _UNSAFE.sub("_", f"source-{project}-{program or 'unknown'}")[:_NAME_MAX]


def save_program(options: RunOptions, files: FileStore) -> None:
    """The program's file as it is now, as `code/<path in its repository>`."""
    file = program_file(options)
    if file is None:
        term.warn("save_code: this program has no file that could be kept")
        return
    files.put(file.path, f"{CODE_FOLDER}/{file.in_repository}")


def save_repository_diffs(options: RunOptions, files: FileStore) -> None:
    """`diff.patch` against HEAD and `diff_<commit>.patch` against what was published, where there is a difference."""
    from tracker.sdk.git_diff import TooLong, read_diff, upstream_commit

    file = program_file(options)
    root = file.git_root if file is not None else find_git_root(Path(options.root_dir).resolve())
    if root is None:
        return
    published = upstream_commit(root, options.git_remote)
    wanted = {"diff.patch": "HEAD"}
    if published is not None and published != read_commit(root):
        wanted[f"diff_{published}.patch"] = published
    for name, against in wanted.items():
        try:
            patch = read_diff(root, against)
        except TooLong as exc:
            term.warn(f"save_code: the changes in {root} are not kept as {name}: {exc}")
            continue
        if patch:
            files.put_bytes(name, patch)


def _files_below(root: str) -> Iterator[str]:
    for folder, inner, names in os.walk(root):
        if folder != root and any(os.path.exists(os.path.join(folder, mark)) for mark in _ENVIRONMENT_MARKS):
            inner.clear()
            continue
        inner[:] = [name for name in inner if name not in _NEVER_ENTERED and name not in WORKING]
        yield from (os.path.join(folder, name) for name in names)


def _with_root(predicate: Any, root: str) -> Callable[[str], bool]:
    """`predicate` as a function of the path alone."""
    try:
        takes = [
            parameter
            for parameter in inspect.signature(predicate).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):  # built in, without a signature
        return lambda path: bool(predicate(path))
    if len(takes) >= 2:
        return lambda path: bool(predicate(path, root))
    return lambda path: bool(predicate(path))
