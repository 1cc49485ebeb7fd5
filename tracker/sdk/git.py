"""What the repository around a program says, read from its files: no `git` process is started."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

__all__ = ["find_git_root", "read_branch", "read_commit", "read_setting", "without_credentials"]

_LEVELS_MAX = 64
_SECTION = re.compile(r'\[\s*([\w.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]')
_ENTRY = re.compile(r"([A-Za-z][\w-]*)\s*=\s*(.*)")


def find_git_root(folder: Path) -> Path | None:
    """The nearest folder at or above `folder` that holds `.git`."""
    for parent in [folder, *folder.parents][:_LEVELS_MAX]:
        if (parent / ".git").exists():
            return parent
    return None


def read_commit(root: Path) -> str | None:
    """The commit that HEAD names, or None: no commit yet, or files we can not read."""
    try:
        git = _git_dir(root)
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head or None
        name = head.removeprefix("ref:").strip()
        common = _common_dir(git)
        loose = common / name
        if loose.is_file():
            return loose.read_text().strip() or None
        return _packed_ref(common / "packed-refs", name)
    except (OSError, UnicodeDecodeError):
        return None


def read_branch(root: Path) -> str | None:
    """The branch that HEAD is on; None: none, or files we can not read."""
    try:
        head = (_git_dir(root) / "HEAD").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    name = head.removeprefix("ref:").strip()
    return name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else None


def read_setting(root: Path, section: str, key: str) -> str | None:
    """`section.key` of the repository's own config, else of the user's; in a file the last one counts.

    `section` is written as `user` or `remote.origin`. Included files are not followed.
    """
    kind, _, name = section.partition(".")
    files = [Path(os.path.expanduser(f"~/{place}")) for place in (".config/git/config", ".gitconfig")]
    try:
        files.append(_common_dir(_git_dir(root)) / "config")
    except (OSError, UnicodeDecodeError):
        return None
    found = None
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = _setting_in(text, kind.lower(), name, key.lower()) or found
    return found


def without_credentials(url: str) -> str:
    """A remote's address without user name and password (META-3); `git@host:path` names nobody and stays."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # no address at all: then nothing of it is told
        return ""
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    keep = f"{user}@{host}" if parts.scheme.endswith("ssh") and user else host
    return urlunsplit((parts.scheme, keep, parts.path, parts.query, parts.fragment))


def _setting_in(text: str, kind: str, name: str, key: str) -> str | None:
    found, inside = None, False
    for line in text.splitlines():
        entry = line.strip()
        section = _SECTION.match(entry)
        if section is not None:
            inside = (section[1].lower(), section[2] or "") == (kind, name)
            entry = entry[section.end() :].strip()
        match = _ENTRY.fullmatch(entry) if inside else None
        if match is not None and match[1].lower() == key:
            found = _value(match[2])
    return found


def _value(text: str) -> str:
    """A value as git reads it: quotes taken off, a comment behind it left out."""
    text = text.strip()
    if text.startswith('"') and text.find('"', 1) > 0:
        return text[1 : text.find('"', 1)]
    return re.split(r"\s[#;]", text, maxsplit=1)[0].strip()


def _common_dir(git: Path) -> Path:
    """Where branches and config are: `git` itself, or the main repository's for a worktree."""
    named = git / "commondir"
    return git / named.read_text().strip() if named.exists() else git


def _git_dir(root: Path) -> Path:
    """`.git` itself, or where the file `.git` of a worktree or submodule points."""
    git = root / ".git"
    if git.is_dir():
        return git
    return root / git.read_text().removeprefix("gitdir:").strip()


def _packed_ref(path: Path, name: str) -> str | None:
    if not path.is_file():
        return None
    for line in path.read_text().splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit
    return None
