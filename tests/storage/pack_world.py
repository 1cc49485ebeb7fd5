"""A store in memory with a clock of its own that can be interrupted at any request; and what a reader finds in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from store_maker import T0, MadeWriter, made_run

from tracker.storage.choose import choose_files
from tracker.storage.errors import KeyTaken, NotFound
from tracker.storage.format_file import ensure_format
from tracker.storage.manifest import newest_manifest
from tracker.storage.names import decode_name, pack_key, parse_part_key, runs_prefix
from tracker.storage.pack_plan import Coverage
from tracker.storage.packing import CompactReport, compact_project
from tracker.storage.packs import DERIVED_FAMILIES, read_cover
from tracker.storage.port import ObjectInfo
from tracker.storage.schema import read_events

GRACE_S = 3600.0
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

_Listing = list[ObjectInfo]
_Contents = list[bytes | None]
Event = tuple[Any, ...]


class Died(BaseException):
    """The process is gone: nothing catches this."""


class FakeStore:
    """Objects in a dict. `at(n, verb, key)` is called before the n-th request, `after(n, verb, key)` behind it."""

    url = "fake://store"

    def __init__(self, *, exclusive: bool = True) -> None:
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.now_us = T0 + 2 * DAY_US
        self.exclusive = exclusive
        self.requests = 0
        self.deleted: list[str] = []
        self.at: Callable[[int, str, str], None] = lambda *_: None
        self.after: Callable[[int, str, str], None] = lambda *_: None

    def put_if_absent(self, key: str, data: bytes) -> None:
        number = self._begin("put", key)
        held = self.objects.get(key)
        if held is None or not self.exclusive:
            self.objects[key] = (bytes(data), self.now_us)
        self.after(number, "put", key)
        if held is not None and held[0] != data and self.exclusive:
            raise KeyTaken(key)

    def put_file_if_absent(self, key: str, path: Path) -> None:
        self.put_if_absent(key, path.read_bytes())

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        for key, path in contents:
            self.put_file_if_absent(key, path)

    def get(self, key: str) -> bytes:
        number = self._begin("get", key)
        if key not in self.objects:
            raise NotFound(key)
        data = self.objects[key][0]
        self.after(number, "get", key)
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
        number = self._begin("list", prefix)
        held = sorted(self.objects.items())
        found = [ObjectInfo(key, len(data), at) for key, (data, at) in held if key.startswith(prefix)]
        self.after(number, "list", prefix)
        return found

    def list_dirs(self, prefix: str) -> Sequence[str]:
        rests = (info.key.removeprefix(prefix) for info in self.list(prefix))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            number = self._begin("delete", key)
            if self.objects.pop(key, None) is not None:
                self.deleted.append(key)
            self.after(number, "delete", key)

    def local_path(self, key: str) -> Path | None:
        return None

    def enforces_put_if_absent(self) -> bool:
        return self.exclusive

    def close(self) -> None:
        self.objects = dict(self.objects)

    def _begin(self, verb: str, key: str) -> int:
        number = self.requests
        self.requests += 1
        self.at(number, verb, key)
        return number

    def copy(self) -> FakeStore:
        """The same objects at the same time; no hooks."""
        twin = FakeStore(exclusive=self.exclusive)
        twin.objects, twin.now_us = dict(self.objects), self.now_us
        return twin

    def keys(self, folder: str) -> _Keys:
        return sorted(key for key in self.objects if f"/{folder}/" in key)


_Keys = list[str]


def make_world(runs: int = 3, *, exclusive: bool = True) -> tuple[FakeStore, list[MadeWriter]]:
    """Ended runs of a few rows: one file, several files, and one that is merged into a set; a day and more ago."""
    store = FakeStore(exclusive=exclusive)
    ensure_format(store)
    store.now_us = T0
    writers = []
    for n in range(runs):
        rows = [{"loss": 1.0 / (step + n + 1), "s": "x"} for step in range(3)]
        writer = made_run(store, f"run{n}", rows, state="running")
        writer.system({"cpu": 5.0}).log({"loss": 0.5, "acc": n}).put()
        if n % 3 == 2:
            writer.merge(0, len(writer.frames) - 1)
        writer.log({"loss": 0.25}).end()
        writers.append(writer)
    store.now_us = T0 + 2 * DAY_US
    return store, writers


def compact(store: FakeStore, **options: Any) -> CompactReport:
    """As a process that starts now."""
    return compact_project(store, "main", "p", now_us=store.now_us, **({"grace_s": GRACE_S} | options))


def truth(writers: Iterable[MadeWriter]) -> Counter[Event]:
    """Every event that was put, once."""
    found: Counter[Event] = Counter()
    for writer in writers:
        found += _events(writer.events(0, writer.shipped - 1), writer.ref.run_id, writer.id)
    return found


def read_all(store: FakeStore, project: str = "p") -> Counter[Event]:
    """What a reader finds: runs are listed first, then the newest manifest; every frame comes from one place."""
    objects = {}
    for info in store.list(runs_prefix("main", project)):
        name = parse_part_key(info.key)
        if name is not None:
            objects[name] = info
    manifest = newest_manifest(store, "main", project)
    coverage = Coverage.of(
        one
        for pack in manifest.packs
        for one in read_cover(pa.py_buffer(store.get(pack_key("main", project, pack.id, "cover"))), pack.id, pack.id)
    )
    purged = {one.run_id: one for one in manifest.purged}
    found: Counter[Event] = Counter()
    choice = choose_files(objects, coverage.frames())
    assert not choice.holes
    for pick in choice.picks:
        for part in pick.parts:
            if part.family == "r":
                continue
            _, events = read_events(pa.BufferReader(store.get(objects[part].key)), part.file_name)
            run_id = decode_name(part.run_segment)
            assert run_id is not None
            if run_id not in purged or not purged[run_id].hides(part.writer_id):
                taken = events.filter(pc.greater_equal(events["seq"], pick.first))
                found += _events(taken, run_id, part.writer_id)
    for pack in manifest.packs:
        for family in pack.families.keys() - DERIVED_FAMILIES:
            table = pq.read_table(pa.BufferReader(store.get(pack_key("main", project, pack.id, family))))
            owners = zip(table["run"].to_pylist(), table["writer"].to_pylist(), strict=True)
            hidden = [run in purged and purged[run].hides(writer) for run, writer in owners]
            found += _events(table.filter(pa.array([not one for one in hidden])))
    return found


def _events(table: pa.Table, run_id: str | None = None, writer_id: str | None = None) -> Counter[Event]:
    columns = ["seq", "row", "hlc", "ts", "kind", "subject", "step", "key", "t", "v", "i", "s"]
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    if run_id is not None:
        return Counter((run_id, writer_id, *row) for row in rows)
    owners = zip(table["run"].to_pylist(), table["writer"].to_pylist(), strict=True)
    return Counter((*owner, *row) for owner, row in zip(owners, rows, strict=True))
