"""Who a run is: its id, its name, its project, and what is not allowed in them."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from tracker.errors import UsageError
from tracker.sdk.git import find_git_root
from tracker.sdk.notebook import in_notebook
from tracker.sdk.notebook_path import notebook_path
from tracker.sdk.words import ADJECTIVES, NOUNS
from tracker.storage.names import ENTITY_PROJECT

__all__ = [
    "DEFAULT_ENTITY",
    "DEFAULT_PROJECT",
    "check_entity",
    "check_project",
    "check_run_id",
    "check_sweep_id",
    "default_project",
    "generate_id",
    "generate_name",
    "program_of",
]

DEFAULT_ENTITY = "main"
DEFAULT_PROJECT = "uncategorized"

_FORBIDDEN = "/\\#?%:"
_PROJECT_CHARS_MAX = 128
_ID_CHARS_MAX = 64
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def generate_id() -> str:
    """8 characters of [a-z0-9] (NAME-1), from the system's randomness: seeding `random` does not repeat ids."""
    number = int.from_bytes(os.urandom(8))
    return "".join(_ALPHABET[number // 36**place % 36] for place in range(8))


def generate_name(run_id: str) -> str:
    """`<adjective>-<noun>-<4 of the id>`. The id decides all of it, so every rank of a run finds the same name."""
    digest = hashlib.sha256(run_id.encode("utf-8", "surrogatepass")).digest()
    adjective = ADJECTIVES[int.from_bytes(digest[:4]) % len(ADJECTIVES)]
    noun = NOUNS[int.from_bytes(digest[4:8]) % len(NOUNS)]
    return f"{adjective}-{noun}-{run_id[:4]}"


def check_run_id(run_id: str) -> str:
    """INIT-7. Raises UsageError: empty, whitespace around it, over 64 characters, or one of `/ \\ # ? % :` in it."""
    if not run_id.strip():
        raise UsageError("The run id is empty. Leave it out to have one made.")
    if run_id != run_id.strip():
        raise UsageError(f"The run id {run_id!r} begins or ends with whitespace. Remove it.")
    return _checked("run id", run_id, _ID_CHARS_MAX)


def check_sweep_id(sweep_id: str) -> str:
    """INIT-18. Raises UsageError: empty, or whitespace around it."""
    if not sweep_id.strip() or sweep_id != sweep_id.strip():
        raise UsageError(f"The sweep id {sweep_id!r} is empty, or begins or ends with whitespace. Remove it.")
    return sweep_id


def check_project(project: str) -> str:
    """INIT-6. Raises UsageError: over 128 characters, one of `/ \\ # ? % :` in it, or a name that the store needs."""
    if project == ENTITY_PROJECT:
        raise UsageError(f"The project {project!r} is where the store keeps what belongs to an entity. Take another.")
    return _checked("project", project, _PROJECT_CHARS_MAX)


def check_entity(entity: str) -> str:
    """As a project. Raises UsageError."""
    return _checked("entity", entity, _PROJECT_CHARS_MAX)


def _checked(what: str, name: str, chars_max: int) -> str:
    found = next((char for char in name if char in _FORBIDDEN), None)
    if found is not None:
        raise UsageError(f"The {what} {name!r} contains {found!r}. Not allowed: {' '.join(_FORBIDDEN)}")
    if len(name) > chars_max:
        raise UsageError(f"The {what} {name[:40]!r}... has {len(name)} characters; at most {chars_max} are allowed.")
    return name


def program_of() -> str:
    """What runs: the script's or notebook's path, `-m <module>`, or `<python with no main file>` (META-2)."""
    if in_notebook():
        notebook = notebook_path(None, os.environ)
        return str(notebook) if notebook is not None else "<python with no main file>"
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return f"-m {spec.name.removesuffix('.__main__')}"
    file = getattr(main, "__file__", None)
    return str(file) if file else "<python with no main file>"


def default_project(program: str) -> str:
    """The git repository's name, with `-<sub_path>` for a program below its root; else `uncategorized` (NAME-3)."""
    file = Path(program)
    if not file.is_file():
        return DEFAULT_PROJECT
    folder = file.resolve().parent
    root = find_git_root(folder)
    if root is None:
        return DEFAULT_PROJECT
    below = folder.relative_to(root).parts
    name = "-".join([root.name, "_".join(below)] if below else [root.name])
    clean = "".join("_" if char in _FORBIDDEN else char for char in name)[:_PROJECT_CHARS_MAX].strip()
    return clean or DEFAULT_PROJECT
