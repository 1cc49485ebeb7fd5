"""`login`: remembers which root to use. There is no account; the store's credentials come from its own environment."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Literal

from tracker.errors import UsageError
from tracker.sdk.places import config_dir

__all__ = ["login", "store_base_url", "stored_base_url"]


def login(
    anonymous: Literal["must", "allow", "never"] | None = None,
    key: str | None = None,
    relogin: bool | None = None,
    host: str | None = None,
    force: bool | None = None,
    timeout: int | None = None,
    verify: bool = False,
) -> bool:
    """Remember `host` (a directory or bucket URL) as the root for later runs of this user.

    No key is needed, asked for or kept. True unless the session is offline (MODE-7).

    Raises:
        UsageError: `host` is a web address, or the file can not be written.
    """
    from tracker.base_url import check_root
    from tracker.sdk import session, term

    _ = (relogin, force, timeout, verify)  # they steer the reference's prompt and server check; here is neither
    if anonymous not in (None, "must", "allow", "never"):
        raise UsageError(f"login(anonymous={anonymous!r}): use must, allow or never.")
    root = check_root(host) if host is not None else None
    if session.current.run is not None:
        term.warn("login() does not change a run that is already active.")
        return True
    mode = session.current.mode()
    if mode == "disabled":
        return True
    if key:
        term.info("no key is needed: the store's credentials are read from its own environment; this key is not kept")
    if root is not None:
        store_base_url(root)
        session.current.settings["base_url"] = root
    if mode in ("offline", "dryrun"):
        term.warn("The session is offline: nothing is sent until `tracker sync`.")
        return False
    return True


def store_base_url(url: str) -> None:
    """Write the root into the user's config directory, readable by the user alone.

    Raises:
        UsageError: the file can not be written.
    """
    path = _path()
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"base_url": url}, file)
        temporary.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(f"The root can not be remembered in {path}: {exc}. Set TRACKER_BASE_URL instead.") from exc


def stored_base_url() -> str | None:
    """What `login(host=...)` stored, or None; a file that can not be read counts as none."""
    try:
        stored = json.loads(_path().read_text(encoding="utf-8"))
        url = stored.get("base_url")
    except (OSError, ValueError, AttributeError):
        return None
    return url if isinstance(url, str) and url else None


def _path() -> Path:
    return config_dir() / "login.json"
