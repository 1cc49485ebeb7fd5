"""Work one thread ahead: a stream is made while what came out of it is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

__all__ = ["ahead"]

_LOOK_S: Final = 0.1  # how soon the other thread sees that nobody listens any more

T = TypeVar("T")


def ahead(stream: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The same items, of which up to `depth` are made in advance by another thread. What it raises is raised here.

    Closing the result ends the thread, and closes `stream` if it is a generator.
    """
    made: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(what: str, item: T | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                made.put((what, item), timeout=_LOOK_S)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        iterator = iter(stream)
        try:
            for item in iterator:
                if not put("item", item):
                    return
        except BaseException as exc:
            put("error", exc)
            return
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        put("end", None)

    thread = threading.Thread(target=make, name="tracker-ahead", daemon=True)
    thread.start()
    try:
        while True:
            what, item = made.get()
            if what == "end":
                return
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
