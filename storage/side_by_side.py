"""Calls that mostly wait, in a few plain threads: executors take no work while Python exits, which is when runs end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

__all__ = ["run_side_by_side"]


def run_side_by_side(calls: Sequence[Callable[[], None]], at_once: int) -> None:
    """All calls are done, `at_once` of them at a time. The first error is raised when those under way have ended."""
    waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
    for call in calls:
        waiting.put(call)
    errors: list[BaseException] = []

    def work() -> None:
        while not errors:
            try:
                call = waiting.get_nowait()
            except Empty:
                return
            try:
                call()
            except BaseException as exc:
                errors.append(exc)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(calls)) - 1)]
    begun = []
    for thread in threads:
        try:
            thread.start()
        except RuntimeError:  # no new threads any more: this one does it all
            break
        begun.append(thread)
    work()
    for thread in begun:
        thread.join()
    if errors:
        raise errors[0]
