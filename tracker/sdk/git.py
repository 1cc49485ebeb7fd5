"""What the repository around a program says, read from its files: no `git` process is started."""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_git_root", "read_commit"]

_LEVELS_MAX = 64


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
        common = git / (git / "commondir").read_text().strip() if (git / "commondir").exists() else git
        loose = common / name
        if loose.is_file():
            return loose.read_text().strip() or None
        return _packed_ref(common / "packed-refs", name)
    except (OSError, UnicodeDecodeError):
        return None


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
