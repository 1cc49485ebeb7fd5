"""`login`: remembers which root to use, and a credential for it where the environment has none. There is no account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from tracker.errors import UsageError
from tracker.storage.credentials import config_dir, keep_credentials, parse_credentials, write_private

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

    There is no account. `key` is a credential of the store, for machines whose environment has none: `ID:SECRET` or
    `ID:SECRET:SESSION` for s3, a service account's JSON or the path of its file for gs. It is kept for that root, in a
    file that this user alone can read; any other key is not needed and not kept. `verify` writes, reads and deletes
    a small object there, within `timeout` seconds (default 30); where that fails the root is not remembered. True
    unless the session is offline (MODE-7).

    Raises:
        UsageError: `host` is a web address, or a file can not be written.
        AuthenticationError: `verify`, and the store refused us.
        CommError: `verify`, and the store did not answer, or has no such bucket.
    """
    from tracker.base_url import check_root, resolve_base_url
    from tracker.sdk import session, term

    _ = (relogin, force)  # they steer the reference's prompt; here is none
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
        _keep_key(root or resolve_base_url(session.current.settings.get("base_url")), key)
    offline = mode in ("offline", "dryrun")
    if verify and not offline:
        from tracker.sdk.verify import verify_root

        place = root or resolve_base_url(session.current.settings.get("base_url"))
        verify_root(place, timeout)
        term.info(f"{place} can be written to and read from")
    if root is not None:  # only a root that passed is remembered
        store_base_url(root)
        session.current.settings["base_url"] = root
    if offline:
        term.warn("The session is offline: nothing is sent until `tracker sync`.")
        return False
    return True


def store_base_url(url: str) -> None:
    """Write the root into the user's config directory, readable by the user alone.

    Raises:
        UsageError: the file can not be written.
    """
    try:
        write_private(_path(), json.dumps({"base_url": url}))
    except OSError as exc:
        raise UsageError(f"The root can not be remembered in {_path()}: {exc}. Set TRACKER_BASE_URL instead.") from exc


def _keep_key(root: str, key: str) -> None:
    from tracker.sdk import term

    credentials = parse_credentials(root, key)
    if credentials is None:
        term.info("no key is needed: the store's credentials are read from its own environment; this key is not kept")
        return
    try:
        path = keep_credentials(root, credentials)
    except OSError as exc:
        raise UsageError(f"The key can not be kept: {exc}. Set the store's own environment variables instead.") from exc
    term.info(f"the key for {root} is kept in {path}, which only this user can read")


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
