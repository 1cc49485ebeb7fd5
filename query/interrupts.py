"""Ctrl-C while DuckDB works: it takes effect at once, whatever DuckDB's main thread is in the middle of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import duckdb

__all__ = ["interruptible"]

T = TypeVar("T")

_AGAIN_S: Final = 0.05  # an interrupt that comes before the query has begun is lost: so again, this often


def interruptible(con: duckdb.DuckDBPyConnection, call: Callable[[], T]) -> T:
    """`call()`, which asks `con` something. In the main thread a signal's exception stops it and is raised at once.

    Python runs signal handlers in the main thread only, between two steps of its own; so that thread waits here, and
    another one asks.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    found: list[T] = []
    failed: list[BaseException] = []
    # a bare lock: an exception in the middle of Event.wait leaves the event broken, and one in Thread.join makes it
    # believe that the thread has ended
    asking = threading.Lock()
    asking.acquire()
    ended = False

    def ask() -> None:
        nonlocal ended
        try:
            found.append(call())
        except BaseException as exc:  # raised again below, in the thread that asked
            failed.append(exc)
        finally:
            ended = True
            asking.release()

    threading.Thread(target=ask, name="tracker-query", daemon=True).start()
    try:
        asking.acquire()
    except BaseException:
        while not ended:
            con.interrupt()
            asking.acquire(timeout=_AGAIN_S)
        raise
    if failed:
        raise failed[0]
    return found[0]
