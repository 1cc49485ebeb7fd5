"""Notices the log directories of TensorBoard's summary writers, of every library that has some (TB-1).

A library that is loaded is patched at once, another one when it is imported; none is imported for it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from tracker.sdk import import_hooks

__all__ = ["Directory", "LogDirectories", "noticed"]


class Directory(NamedTuple):
    """A writer of this process began to write into `path` at `since_s` (unix seconds)."""

    path: str
    since_s: float


# module, the class in it (None: a function of the module itself), the callable, and where its log directory stands
_WRITERS: Final = (
    ("tensorboard.summary.writer.event_file_writer", "EventFileWriter", "__init__", 1),  # of torch as well
    ("tensorboardX.event_file_writer", "EventFileWriter", "__init__", 1),
    ("tensorflow.python.summary.writer.event_file_writer", "EventFileWriter", "__init__", 1),  # TF 1
    ("tensorflow.python.ops.gen_summary_ops", None, "create_summary_file_writer", 1),  # TF 2
)


class LogDirectories:
    """What was noticed since `patch`. One for the process."""

    def __init__(self) -> None:
        self.root = ""  # given by the user: names of directories are relative to it
        self.by_user = False
        self._lock = threading.Lock()
        self._directories: list[Directory] = []
        self._writers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._undo: list[Callable[[], None]] = []

    @property
    def is_patched(self) -> bool:
        return bool(self._undo)

    def patch(self, root: str = "", *, by_user: bool = False) -> None:
        """Notice writers from now on. Raises ValueError when that is so already (TB-1)."""
        if self.is_patched:
            raise ValueError("TensorBoard is patched already. Call tracker.tensorboard.unpatch() before that.")
        self.root, self.by_user = root, by_user
        for module, owner, name, at in _WRITERS:
            self._undo.append(import_hooks.when_imported(module, partial(self._wrap, owner, name, at)))
        sys.modules["tracker"].patched["tensorboard"] = [[module, name] for module, _, name, _ in _WRITERS]

    def unpatch(self) -> None:
        """Leave the libraries as they were, and forget what was noticed. Without a patch nothing happens."""
        while self._undo:
            self._undo.pop()()
        sys.modules["tracker"].patched["tensorboard"] = []
        self.by_user = False
        with self._lock:
            self._directories.clear()

    def since(self, at: int) -> list[Directory]:
        """Those noticed after the first `at`."""
        with self._lock:
            return self._directories[at:]

    def flush_writers(self) -> None:
        """What living writers hold back is in their files. One that is closed says so, and has nothing to flush."""
        for writer in list(self._writers):
            with contextlib.suppress(Exception):
                writer.flush()

    def _wrap(self, owner: str | None, name: str, at: int, module: Any) -> None:
        holder = module if owner is None else getattr(module, owner, None)
        original = getattr(holder, name, None)
        if original is None:
            return

        def noticing(*args: Any, **kwargs: Any) -> Any:
            since_s = time.time()
            made = original(*args, **kwargs)
            self._notice(kwargs.get("logdir", args[at] if len(args) > at else None), since_s)
            if owner is not None:
                self._writers.add(args[0])
            return made

        setattr(holder, name, noticing)
        self._undo.append(lambda: setattr(holder, name, original))

    def _notice(self, logdir: Any, since_s: float) -> None:
        """Never raises: the writer is the training's."""
        try:
            path = _text(logdir)
        except Exception:  # a tensor of a graph that has no value yet
            return
        with self._lock:
            if path and all(path != known.path for known in self._directories):
                self._directories.append(Directory(path, since_s))


def _text(logdir: Any) -> str:
    if hasattr(logdir, "numpy"):
        logdir = logdir.numpy()
    path = logdir.decode() if isinstance(logdir, bytes) else str(logdir)
    return path.rstrip("/") if len(path) > 1 else path


noticed: Final = LogDirectories()
