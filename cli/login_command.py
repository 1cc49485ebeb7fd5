"""`tracker login`: which root this user's runs go to, tried before it is remembered."""

from __future__ import annotations

import sys

from tracker.cli.talk import say
from tracker.storage.errors import UsageError

__all__ = ["log_in"]


def log_in(host: str | None, key: str | None, *, verify: bool, timeout_s: int | None) -> None:
    """Remember the root and a credential for it, as `tracker.login` does. Its address goes to stdout.

    With `verify` a small object is written, read and deleted there first. `key` may be `-`: then it is read from stdin,
    where no list of processes and no history of a shell shows it.

    Raises:
        UsageError: no root, or `-` without a key.
        AuthenticationError: the store refused us. CommError: it did not answer, or there is no such bucket.
    """
    from tracker.base_url import check_root, resolve_base_url
    from tracker.sdk.login import login

    if key == "-":
        key = sys.stdin.readline().strip()
        if not key:
            raise UsageError("There is no key on stdin. Pipe it in as one line: tracker login URL --key - < key.txt")
    root = resolve_base_url(None) if host is None else check_root(host)
    login(host=host and root, key=key, verify=verify, timeout=timeout_s)
    if host is None:
        say("This is where runs go; give a directory or URL to change it.")
    print(root)
