"""One background event loop per process for network requests; it works in atexit handlers and after fork.

asyncio's own default executor refuses work once the interpreter has begun to exit, and from Python 3.12 on no
thread can be started then; but the last records of a run are shipped just there. So the threads that look up host
names are daemons of our own, started with the loop.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tracker.storage.errors import StorageUnavailable

__all__ = ["IoLoop", "drop", "hold", "io_loop", "running_io_loop"]

T = TypeVar("T")

_WORKERS = 4


class IoLoop:
    """An event loop that runs on a daemon thread for the rest of the process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        try:
            _never_collect(_held)
            hold(self)
            self.loop.set_default_executor(_DaemonExecutor(_WORKERS))
            self._thread = threading.Thread(target=self.loop.run_forever, name="tracker-io", daemon=True)
            self._thread.start()
        except RuntimeError as exc:  # "can't create new thread at interpreter shutdown"
            self.loop.close()
            raise StorageUnavailable(
                "Python is exiting, and no connection can be opened any more. Call finish() before the script ends."
            ) from exc

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the coroutine that `work` makes, awaited on the loop's thread; the caller waits.

        An exception in the waiting thread (KeyboardInterrupt) cancels the work.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("The I/O thread must not wait for itself.")
        coroutine = work()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run to the end without anybody waiting; errors are dropped."""
        self.loop.call_soon_threadsafe(lambda: self._keep(self.loop.create_task(work())))

    def _keep(self, task: asyncio.Task[object]) -> None:
        _running.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(_drop)


_running: set[asyncio.Task[object]] = set()


def _drop(task: asyncio.Task[object]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()


class _DaemonExecutor(ThreadPoolExecutor):
    """The few calls that asyncio hands to threads (host names), on daemon threads that exist from the start."""

    def __init__(self, workers: int) -> None:
        super().__init__(max_workers=workers)
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        for number in range(workers):
            threading.Thread(target=self._work, name=f"tracker-io-{number}", daemon=True).start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        return future

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as exc:  # handed to whoever waits
                future.set_exception(exc)
            del future, call


_lock = threading.Lock()
_current: IoLoop | None = None


def running_io_loop() -> IoLoop | None:
    """This process's loop, if it has one. Takes no lock: safe in finalizers, which run anywhere."""
    current = _current
    return current if current is not None and current.pid == os.getpid() else None


def io_loop() -> IoLoop:
    """This process's loop, started by the first call."""
    global _current
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = IoLoop()
        return _current


_held: set[object] = set()


def hold(thing: object) -> None:
    """Keep `thing` until `drop`, past the end of the interpreter and in forked children too.

    A connection must not be collected there. In a child it would unregister its socket from the poll object that
    the child shares with its parent, whose loop then waits for ever; at exit it would complain on stderr.
    """
    _held.add(thing)


def drop(thing: object) -> None:
    """`thing` may be collected again."""
    _held.discard(thing)


def _never_collect(thing: object) -> None:
    """One reference that nobody gives back: module globals are cleared at exit, this stays."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _forget_in_child() -> None:
    """The parent's loop has no thread here: the child's first request starts its own."""
    global _current, _held, _lock
    _lock = threading.Lock()
    _current = None
    _held = set()  # what the parent held stays as it is: its set is never collected


os.register_at_fork(after_in_child=_forget_in_child)
