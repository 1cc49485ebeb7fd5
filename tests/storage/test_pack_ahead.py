"""A stream that is made one thread ahead is the same stream, errors and endings included."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tracker.storage.ahead import ahead


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tracker-ahead"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead([])) == []
    assert threads() == []


def test_an_error_is_raised_where_the_items_are_used():
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("in the other thread")

    stream = ahead(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="other thread"):
        next(stream)
    assert threads() == []


def test_who_stops_early_closes_the_source():
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    stream = ahead(endless())
    next(stream)
    stream.close()
    assert closed.wait(5)
    assert threads() == []


def test_only_so_many_items_are_made_in_advance():
    made: list[int] = []

    def counted() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n

    stream = ahead(counted(), depth=2)
    assert next(stream) == 0
    threading.Event().wait(0.3)
    assert len(made) <= 5
    stream.close()
