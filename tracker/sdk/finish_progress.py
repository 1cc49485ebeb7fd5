"""Says how much is left while a run waits for its last data to be sent."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from tracker.sdk import term

__all__ = ["Sends", "left_over", "say_progress", "shown_size"]

_FIRST_S: Final = 0.7  # what is sent sooner needs no words
_EVERY_S: Final = 0.25
_EVERY_LINE_S: Final = 10.0  # where a line cannot be written over
_UNITS: Final = ("B", "KB", "MB", "GB", "TB")


class Sends(Protocol):
    """What is asked of a RunWriter."""

    spool_dir: Path

    @property
    def next_seq(self) -> int: ...
    @property
    def shipped_frames(self) -> int: ...


@contextlib.contextmanager
def say_progress(writer: Sends, now_s: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Inside of it a thread shows what is left, once that takes a moment; afterwards its line is gone."""
    done = threading.Event()
    thread = threading.Thread(target=_say, args=(writer, done, now_s), name="tracker-progress", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends and takes no new threads: then in silence
        yield
        return
    try:
        yield
    finally:
        done.set()
        thread.join(1.0)


def _say(writer: Sends, done: threading.Event, now_s: Callable[[], float]) -> None:
    if done.wait(_FIRST_S):
        return
    shown, next_s = False, 0.0
    while not done.is_set():
        left = left_over(writer)
        if left and term.can_rewrite():
            shown = term.rewrite(f"sending the last data: {left} left") or shown
        elif left and now_s() >= next_s:
            term.info(f"sending the last data: {left} left")
            next_s = now_s() + _EVERY_LINE_S
        done.wait(_EVERY_S)
    if shown:
        term.rewrite("")


def left_over(writer: Sends) -> str:
    """What the store does not have yet, in words; empty for nothing."""
    records = max(writer.next_seq - writer.shipped_frames, 0)
    files = size_bytes = 0
    with contextlib.suppress(OSError), os.scandir(writer.spool_dir / "blobs") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                size_bytes += entry.stat(follow_symlinks=True).st_size
                files += 1
    words = [f"{records:,} record{'s' * (records != 1)}"] if records else []
    if files:
        words.append(f"{files:,} file{'s' * (files != 1)} ({shown_size(size_bytes)})")
    return " and ".join(words)


def shown_size(size_bytes: float) -> str:
    """`1.5 GB`: powers of 1000, as disks are sold."""
    power = 0
    while size_bytes >= 999.5 and power + 1 < len(_UNITS):
        size_bytes, power = size_bytes / 1000, power + 1
    unit = _UNITS[power]
    return f"{size_bytes:.0f} {unit}" if size_bytes >= 10 or unit == "B" else f"{size_bytes:.1f} {unit}"
