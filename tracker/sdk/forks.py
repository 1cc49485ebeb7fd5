"""Fork: the child leaves the parent's runs alone, and its first call opens a writer of its own."""

from __future__ import annotations

import importlib
import os
import sys
import time

from tracker.sdk import session, sigterm

__all__ = ["install"]

_IMPORTED_LATE = frozenset(
    ("pyarrow", "numpy", "pandas", "tracker", "fsspec", "s3fs", "gcsfs", "aiobotocore", "aiohttp", "botocore", "google")
) | {"psutil", "pynvml", "yaml"}
_IMPORT_WAIT_S = 5.0

_installed = False


def install() -> None:
    """Once a process; children inherit it."""
    global _installed
    if _installed or not hasattr(os, "register_at_fork"):
        return
    _installed = True
    import logging  # noqa: F401 - has hooks of its own, which must not come up in the middle of a fork

    os.register_at_fork(before=_before, after_in_child=_after_in_child)


def _before() -> None:
    """Wait while the shipper's thread imports a library: half of a C extension is of no use in the child."""
    if not session.current.live:
        return
    deadline = time.monotonic() + _IMPORT_WAIT_S
    for recorder in session.current.live:
        recorder.wait_warm(deadline - time.monotonic())
    while _half_imported() and time.monotonic() < deadline:
        time.sleep(0.002)


def _after_in_child() -> None:
    recorders = session.current.live
    if recorders:
        _forget_imports_of_lost_threads()
    session.current.forget_after_fork()
    sigterm.watch.reset_in_child()
    for recorder in recorders:
        recorder.leave_to_parent()


def _half_imported() -> list[str]:
    return [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in _IMPORTED_LATE
        and getattr(getattr(module, "__spec__", None), "_initializing", False)
    ]


def _forget_imports_of_lost_threads() -> None:
    """An import that another thread had begun holds its module's lock for ever here: forget the lock, import again."""
    locks = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", None)
    if locks is not None:
        locks.clear()  # a lock that this thread holds is kept alive by whoever holds it
    for name in _half_imported():
        del sys.modules[name]
