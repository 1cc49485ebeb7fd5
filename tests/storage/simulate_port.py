"""The store as an actor of the simulation sees it, and the patches that let real code live in the simulated world."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from simulate_world import Actor, World

from tracker.storage import clock, merge, names, pack_plan, packing, recover, shipper, spool, stores, writer
from tracker.storage.errors import NotFound
from tracker.storage.frames import Facts, Log, Points, decode_frame
from tracker.storage.frames import unpack_value as unpack
from tracker.storage.port import ObjectInfo
from tracker.storage.wal import WalReader

_Listing = list[ObjectInfo]
_Contents = list[bytes | None]


def here() -> Actor:
    """The actor whose thread this is."""
    actor = threading.current_thread()
    assert isinstance(actor, Actor), "only actors may use the simulated store"
    return actor


class SimulatedStore:
    """Every verb is one or more requests; between any two of them everybody else may act."""

    def __init__(self, url: str) -> None:
        self.url = url

    def put_if_absent(self, key: str, data: bytes) -> None:
        assert data
        here().request("put", key, bytes(data))

    def put_file_if_absent(self, key: str, path: Path) -> None:
        self.put_if_absent(key, Path(path).read_bytes())

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        for key, path in contents:
            self.put_file_if_absent(key, path)

    def get(self, key: str) -> bytes:
        data: bytes = here().request("get", key)
        return data

    def get_many(self, keys: Sequence[str]) -> _Contents:
        found: _Contents = []
        for key in keys:
            try:
                found.append(self.get(key))
            except NotFound:
                found.append(None)
        return found

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self.get(key)[start:end]

    def list(self, prefix: str) -> _Listing:
        actor, found, after = here(), _Listing(), ""
        while True:
            page = actor.request("page", prefix, after)
            found += [ObjectInfo(key, size, at_s * 1_000_000) for key, size, at_s in page]
            if len(page) < actor.world.page:
                return found
            after = page[-1][0]

    def list_dirs(self, prefix: str) -> Sequence[str]:
        rests = (info.key.removeprefix(prefix) for info in self.list(prefix))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            here().request("delete", key)

    def local_path(self, key: str) -> Path | None:
        return None

    def enforces_put_if_absent(self) -> bool:
        return here().world.exclusive

    def close(self) -> None:
        """Nothing is held."""


class SimulatedTime:
    """Stands for the module `time`: clocks show the world's time, and sleeping lets others act."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        actor = threading.current_thread()
        return actor.world.wall_s() + actor.skew_s if isinstance(actor, Actor) else time.time()

    def time_ns(self) -> int:
        return int(self.time()) * 1_000_000_000

    def monotonic(self) -> float:
        actor = threading.current_thread()
        return float(actor.world.now_s) if isinstance(actor, Actor) else time.monotonic()

    def sleep(self, seconds: float) -> None:
        here().request("sleep", int(seconds) + 1)


class SimulatedPool(Executor):
    """Stands for a pool of threads: the calls run in the actor's own, at once or when their result is asked for."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Nothing to set up."""

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        answer: Future[Any] = _Answer(lambda: function(*given, **named))
        actor = threading.current_thread()
        if isinstance(actor, Actor) and actor.world.rnd.random() < 0.5:
            answer.exception()
        return answer

    def map(self, function: Callable[..., Any], *columns: Any, **_: Any) -> Iterator[Any]:
        return iter([function(*row) for row in zip(*columns, strict=False)])


class _Answer(Future[Any]):
    """Runs its call when somebody asks."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        self._run()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._run()
        return super().exception(timeout)

    def _run(self) -> None:
        if not self.done():
            try:
                self.set_result(self._call())
            except Exception as exc:
                self.set_exception(exc)


class SeededChance:
    """Stands for the module `os` where ids are made."""

    def __init__(self, seed: int) -> None:
        self._rnd = random.Random(seed)

    def urandom(self, count: int) -> bytes:
        return self._rnd.randbytes(count)


SMALL: dict[ModuleType, dict[str, Any]] = {
    merge: {"_FAN_IN": 3, "_SMALL_EVENTS": 12, "_FINISH_EVENTS_MAX": 60, "_TIERS": (9, 27, 81, 243)},
    pack_plan: {"_FAN_IN": 3, "_CHECKPOINT_SMALL_BYTES": 1},
    packing: {"_ORPHAN_US": 100 * 1_000_000},
}
_REAL_TIME = ("cache", "local", "spool", "memory", "pump", "io_loop", "remote", "remote_store")  # they look at files


@contextlib.contextmanager
def patched(world: World) -> Iterator[None]:
    """Inside, storage and query run in `world`: its clock, its disk as requests, ids from its seed, small merges."""
    fake_time, replace, close_row = SimulatedTime(), spool._replace, writer.close_open_row
    acquire = spool.FileLock.try_acquire
    remove_below, remove_log = spool.Spool.remove_segments_below, spool.Spool.remove_log

    def stepping_replace(path: Path, data: bytes, *, durable: bool) -> None:
        here().request("disk")
        replace(path, data, durable=False)

    def stepping_remove_below(self: spool.Spool, next_seq: int) -> None:
        here().request("disk")
        remove_below(self, next_seq)

    def stepping_remove_log(self: spool.Spool, *, directory_too: bool) -> None:
        here().request("disk")
        remove_log(self, directory_too=directory_too)

    def noted_close_row(one: spool.Spool, state: spool.ShipState) -> None:
        close_row(one, state)
        note_frames(world, one, state.next_seq)

    def kernel_lock(self: spool.FileLock) -> bool:
        actor = here()
        actor.at_exit.append(self.release)  # as the kernel does for a process that dies
        return acquire(self)

    with contextlib.ExitStack() as stack:
        patch = mock.patch.object
        stack.enter_context(patch(spool.FileLock, "try_acquire", kernel_lock))
        for name, module in list(sys.modules.items()):
            inside = name.startswith(("tracker.storage.", "tracker.query."))
            if inside and hasattr(module, "ThreadPoolExecutor"):
                stack.enter_context(patch(module, "ThreadPoolExecutor", SimulatedPool))
            if inside and name.rpartition(".")[2] not in _REAL_TIME and getattr(module, "time", None) is time:
                stack.enter_context(patch(module, "time", fake_time))
        for module, values in SMALL.items():
            for name, value in values.items():
                stack.enter_context(patch(module, name, value))
        stack.enter_context(patch(names, "os", SeededChance(world.seed)))
        stack.enter_context(patch(stores, "open_store", lambda url, **_: SimulatedStore(url)))
        stack.enter_context(patch(spool, "_replace", stepping_replace))
        stack.enter_context(patch(spool.Spool, "remove_segments_below", stepping_remove_below))
        stack.enter_context(patch(spool.Spool, "remove_log", stepping_remove_log))
        cuts = {"bytes_max": world.rnd.choice([150, 500, 1 << 20])}
        stack.enter_context(mock.patch.dict(shipper.Shipper.ship_once.__kwdefaults__, cuts))
        stack.enter_context(patch(writer, "close_open_row", noted_close_row))
        stack.enter_context(patch(recover, "close_open_row", noted_close_row))
        stack.enter_context(patch(writer, "CLOCK", clock.HybridClock()))
        yield


def note_frames(world: World, one: spool.Spool, first: int) -> None:
    """What lies in the log from frame `first` on is what readers shall find."""
    frames = world.frames[one.owner.writer_id]
    for item in WalReader(one.path, next_seq=first).read(bytes_max=1 << 30, writer_gone=True):
        assert item.seq <= len(frames)
        if item.seq == len(frames):
            frames.append(expected(decode_frame(bytes(item.payload))))


def expected(frame: Any) -> list[tuple[str, str | None, object]]:
    """The events of one frame, as (kind, key, value)."""
    match frame:
        case Log():
            marks = [("row", None, mark.runtime_s) for mark in frame.closes]
            return [*(("history", key, unpack(value)) for key, value in frame.cells.items()), *marks]
        case Points():
            return [(frame.kind, key, unpack(value)) for key, value in frame.cells.items()]
        case Facts():
            return [(kind, path, unpack(value)) for kind, _, path, value in frame.facts]
    raise AssertionError(frame)
