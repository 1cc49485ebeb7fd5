"""Who changes runs that it does not write: facts of kind `writer` in the first frame of a writer of edits.

They are for people (`tracker log`), and decide nothing: neither the fold nor anybody's right to do something.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping

from tracker.storage.events import KIND_WRITER, Value

__all__ = ["author_facts", "user_name"]

_NAMES = ("TRACKER_USERNAME", "WANDB_USERNAME")


def user_name(environ: Mapping[str, str] = os.environ) -> str | None:
    """The environment's name for whoever works here, else the operating system's; None where there is neither."""
    for name in _NAMES:
        if environ.get(name):
            return environ[name]
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in a container, say
        return None


def author_facts(writer_id: str) -> list[tuple[str, None, str, Value]]:
    """Host, process and user of this process, as facts about the writer itself (subject null)."""
    fields: dict[str, Value] = {"host": socket.gethostname(), "pid": os.getpid(), "user": user_name()}
    return [(KIND_WRITER, None, f"{writer_id}.{name}", value) for name, value in fields.items() if value is not None]
