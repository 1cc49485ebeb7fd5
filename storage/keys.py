"""Which keys and prefixes a store accepts: relative, plain segments, nothing that could leave the root."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tracker.storage.errors import UsageError

__all__ = ["TEMPORARY", "check_data", "check_file", "check_key", "check_prefix", "check_range"]

TEMPORARY: Final = ".tmp-"  # names of half-written files begin so; no key may, and no listing shows them


def check_key(key: str) -> str:
    """`key`, unchanged.

    Raises:
        UsageError: it is empty or absolute, or a segment is empty, `.`, `..`, temporary, or no UTF-8.
    """
    for segment in key.split("/"):
        if segment in {"", ".", ".."} or segment.startswith(TEMPORARY) or "\0" in segment:
            raise UsageError(
                f"{key!r} is no key of a store: segments are joined by '/', and none may be empty, '.', '..', "
                f"hold a NUL or begin with '{TEMPORARY}'. Build keys with tracker.storage.names."
            )
    try:
        key.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{key!r} is no key of a store: it is no UTF-8. Pass names through encode_name.") from None
    return key


def check_prefix(prefix: str) -> str:
    """`prefix`, unchanged: empty for the whole root, else a key and a slash.

    Raises:
        UsageError: it does not end in a slash, or is no key before it.
    """
    if not prefix:
        return prefix
    if not prefix.endswith("/"):
        raise UsageError(f"{prefix!r} is no prefix of a store: it must be empty or end in '/'.")
    check_key(prefix[:-1])
    return prefix


def check_data(key: str, data: bytes) -> None:
    """Raises UsageError for empty data: no backend creates an empty object exclusively."""
    if not data:
        raise UsageError(f"Nothing to write under {key!r}: an object must not be empty.")


def check_file(key: str, path: Path) -> None:
    """Raises UsageError for an empty file, OSError for one that is not there."""
    if not path.stat().st_size:
        raise UsageError(f"Nothing to write under {key!r}: {path} is empty, and an object must not be.")


def check_range(key: str, start: int, end: int) -> None:
    """Raises UsageError unless 0 <= start <= end."""
    if not 0 <= start <= end:
        raise UsageError(f"Bytes {start}..{end} are no range of {key!r}. Both count from 0, start first.")
