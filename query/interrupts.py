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
    done = threading.Event()  # Thread.join, once interrupted, believes that the thread has ended

    def ask() -> None:
        try:
            found.append(call())
        except BaseException as exc:  # raised again below, in the thread that asked
            failed.append(exc)
        finally:
            done.set()

    threading.Thread(target=ask, name="tracker-query", daemon=True).start()
    try:
        done.wait()
    except BaseException:
        while not done.is_set():
            con.interrupt()
            done.wait(_AGAIN_S)
        raise
    if failed:
        raise failed[0]
    return found[0]
