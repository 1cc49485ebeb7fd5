"""Credentials that `login` keeps for a root, for machines whose environment has none. The user's own file, mode 0600.

    <config dir>/credentials.json    {"<root>": {"key": ..., "secret": ..., "token": ...}, ...}

What the environment says (AWS_*, GOOGLE_APPLICATION_CREDENTIALS) counts before what is kept here.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from tracker.storage.errors import UsageError

__all__ = ["config_dir", "keep_credentials", "kept_options", "parse_credentials", "write_private"]

_IN_ENVIRONMENT: Final = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"),
}


def config_dir() -> Path:
    """Settings and login: TRACKER_CONFIG_DIR, WANDB_CONFIG_DIR, else the platform's place."""
    named = os.environ.get("TRACKER_CONFIG_DIR") or os.environ.get("WANDB_CONFIG_DIR")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("tracker", appauthor=False))


def parse_credentials(root: str, key: str) -> dict[str, Any] | None:
    """What `key` means for the root: for s3 `ID:SECRET` or `ID:SECRET:SESSION`, for gs a service account's JSON or the
    path of its file. None: it is no credential of such a root.

    Raises:
        UsageError: a file that is named and is no service account's.
    """
    if root.startswith("s3://") and ":" in key:
        names = ("key", "secret", "token")
        parts = key.split(":", 2)
        return dict(zip(names, parts, strict=False)) if all(parts) else None
    if root.startswith("gs://") and (key.lstrip().startswith("{") or os.path.isfile(key)):
        try:
            text = key if key.lstrip().startswith("{") else Path(key).read_text(encoding="utf-8")
            account = json.loads(text)
        except (OSError, ValueError) as exc:
            raise UsageError(f"The key for {root} is no service account's JSON: {exc}") from exc
        if not isinstance(account, dict) or "private_key" not in account:
            raise UsageError(f"The key for {root} is no service account's JSON: it has no private_key.")
        return {"token": account}
    return None


def keep_credentials(root: str, credentials: dict[str, Any]) -> Path:
    """Keep them for `root` and everything below it; the file's path.

    Raises:
        OSError: the file can not be written.
    """
    path = config_dir() / "credentials.json"
    write_private(path, json.dumps(_read(path) | {root: credentials}))
    return path


def kept_options(url: str) -> dict[str, Any]:
    """Options for the filesystem of this URL, as it was normalized: those of the longest root that it lies in.

    Nothing where the environment has credentials of its own.
    """
    scheme = url.partition("://")[0]
    if any(os.environ.get(name) for name in _IN_ENVIRONMENT.get(scheme, ("",))) or scheme not in _IN_ENVIRONMENT:
        return {}
    kept = _read(config_dir() / "credentials.json")
    inside = [root for root in kept if url == root or url.startswith(f"{root}/")]
    found = kept[max(inside, key=len)] if inside else {}
    return dict(found) if isinstance(found, dict) else {}


def write_private(path: Path, text: str) -> None:
    """`text` stands at `path`, whole, readable by this user alone (0600).

    Raises:
        OSError: it can not be written; what was there stays.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
