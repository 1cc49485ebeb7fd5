"""After fork, in the child: the parent's runs are left alone, and a first call opens a writer of the child's own."""

from __future__ import annotations

import os

from tracker.sdk import session, sigterm

__all__ = ["install"]

_installed = False


def install() -> None:
    """Once a process; children inherit it."""
    global _installed
    if not _installed and hasattr(os, "register_at_fork"):
        _installed = True
        os.register_at_fork(after_in_child=_after_in_child)


def _after_in_child() -> None:
    recorders = session.current.live
    session.current.forget_after_fork()
    sigterm.watch.reset_in_child()
    for recorder in recorders:
        recorder.leave_to_parent()
