"""A checkpoint that is damaged, cut short or gone costs time and no answer: it is made again from its packs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, made_run
from test_packed import seen

from tracker.query import checkpoint_files
from tracker.query.history import PartsGone
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.runs import find_runs
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.errors import CorruptData
from tracker.storage.format_file import ensure_format
from tracker.storage.local import LocalStore
from tracker.storage.manifest import newest_manifest
from tracker.storage.memory import MemoryStore
from tracker.storage.names import pack_key
from tracker.storage.packing import compact_project
from tracker.storage.port import Store

Damage = Callable[[bytes], bytes | None]

NOW = T0 + 1_000_000_000


def gone(_: bytes) -> None:
    return None


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def without_end(data: bytes) -> bytes:
    return data[:-1]


def flipped(data: bytes) -> bytes:
    """In the values of facts, whose compression need not notice."""
    at = len(data) // 4
    return data[:at] + bytes(byte ^ 1 for byte in data[at : at + 64]) + data[at + 64 :]


def zeros(data: bytes) -> bytes:
    """The pages of a file whose footer is whole."""
    middle = len(data) // 2
    return data[:4] + bytes(middle) + data[4 + middle :]


def store_at(kind: str, tmp_path: Path) -> Store:
    """Finished runs in two packs and one checkpoint; nothing is loose."""
    store: Store = LocalStore(tmp_path / "store") if kind == "local" else MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    for first in (0, 3):
        for n in range(first, first + 3):
            rows = [{"z": n + step, "a.b": step / 7, "x": "s"} for step in range(6)]
            made_run(store, f"r{n}", rows, config={"a": n, "deep": {"er": [n]}}, attrs={"notes": "n" * n})
        compact_project(store, "main", "p", now_us=T0, quiet_s=0, finished_quiet_s=0)
    assert len(newest_manifest(store, "main", "p").packs) == 2
    store.delete([info.key for info in store.list("main/p/runs/")])
    return store


def checkpoint_key(store: Store) -> str:
    (checkpoint,) = newest_manifest(store, "main", "p").checkpoints
    return pack_key("main", "p", checkpoint.id, "k")


def change(store: Store, key: str, damage: Damage) -> None:
    data = damage(store.get(key))
    store.delete([key])
    if data is not None:
        store.put_if_absent(key, data)


class Reader:
    """What one process after the other sees; each has its own cache directory unless one is given."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store, self.directory, self.warnings = store, directory, list[str]()

    def opened(self, run_id: str | None = None) -> Snapshot:
        cache = PartCache(self.directory, 1 << 30)
        return open_project(self.store, "main", "p", cache=cache, now_us=NOW, warn=self.warnings.append, run_id=run_id)

    def seen(self) -> dict[str, Any]:
        return seen(self.opened)


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """As if a new process began."""

    def run() -> None:
        for one in (checkpoint_files._sound, checkpoint_files._damaged, checkpoint_files._warned):
            one.clear()
        from tracker.query import packed, snapshot

        packed._writers.clear()
        snapshot._unchanged.clear()

    return run


@pytest.mark.parametrize("kind", ["local", "memory"])
@pytest.mark.parametrize("damage", [gone, cut, without_end, flipped, zeros])
def test_answers_are_the_same_and_one_warning_names_the_file_and_the_remedy(
    kind: str, damage: Damage, tmp_path: Path, forget: Callable[[], None]
) -> None:
    store = store_at(kind, tmp_path)
    right = Reader(store, tmp_path / "first").seen()
    assert right["count"] == 6
    forget()
    change(store, checkpoint_key(store), damage)
    reader = Reader(store, tmp_path / "second")
    assert reader.seen() == right
    assert len(reader.warnings) == 1
    assert checkpoint_key(store) in reader.warnings[0]
    assert "tracker fsck" in reader.warnings[0]
    assert reader.seen() == right
    assert len(reader.warnings) == 1


@pytest.mark.parametrize("damage", [gone, cut, flipped])
def test_a_rollup_that_is_damaged_too_costs_the_order_of_keys_at_most(
    damage: Damage, tmp_path: Path, forget: Callable[[], None]
) -> None:
    store = store_at("memory", tmp_path)
    right = Reader(store, tmp_path / "first").seen()
    forget()
    for pack in newest_manifest(store, "main", "p").packs:
        change(store, pack_key("main", "p", pack.id, "r"), damage)
    change(store, checkpoint_key(store), damage)
    found = Reader(store, tmp_path / "second").seen()
    for name, value in right.items():
        if not name.startswith(("keys ", "r")):
            assert found[name] == value
    assert found.keys() == right.keys()


def test_the_next_process_finds_what_was_made_again(tmp_path: Path, forget: Callable[[], None]) -> None:
    store = store_at("memory", tmp_path)
    change(store, checkpoint_key(store), flipped)
    right = find(Reader(store, tmp_path / "cache").opened())
    forget()
    (pack, _) = newest_manifest(store, "main", "p").packs
    change(store, pack_key("main", "p", pack.id, "f"), gone)
    (made,) = (tmp_path / "cache").rglob("*.rebuilt.parquet")
    reader = Reader(store, tmp_path / "cache")
    assert find(reader.opened()) == right
    assert len(reader.warnings) == 1
    forget()
    made.write_bytes(cut(made.read_bytes()))
    store.put_if_absent(pack_key("main", "p", pack.id, "f"), b"no file of events")
    for copy in (tmp_path / "cache").rglob("*.f.parquet"):
        copy.unlink()
    with pytest.raises(CorruptData):
        reader.opened()


def test_a_cache_that_takes_no_files_is_no_reason_to_fail(tmp_path: Path) -> None:
    store = store_at("local", tmp_path)
    change(store, checkpoint_key(store), cut)
    (tmp_path / "cache").write_text("a file")
    reader = Reader(store, tmp_path / "cache")
    assert len(find(reader.opened())) == 6
    assert len(reader.warnings) == 1


def test_a_damaged_copy_of_a_sound_checkpoint_is_fetched_again(tmp_path: Path, forget: Callable[[], None]) -> None:
    store = store_at("memory", tmp_path)
    reader = Reader(store, tmp_path / "cache")
    right = find(reader.opened())
    (copy,) = (tmp_path / "cache").rglob("*.k.parquet")
    copy.write_bytes(flipped(copy.read_bytes()))
    forget()
    assert find(reader.opened()) == right
    assert reader.warnings == []
    assert copy.read_bytes() == store.get(checkpoint_key(store))


def test_damage_that_comes_while_a_process_reads_is_no_error_of_the_database(tmp_path: Path) -> None:
    store = store_at("local", tmp_path)
    reader = Reader(store, tmp_path / "cache")
    snapshot = reader.opened()
    change(store, checkpoint_key(store), zeros)
    with pytest.raises(PartsGone, match="Open the project again"):
        find(snapshot)
    assert len(find(reader.opened())) == 6
    assert len(reader.warnings) == 1


def test_a_copy_that_is_damaged_while_a_process_reads_is_fetched_again(tmp_path: Path) -> None:
    store = store_at("memory", tmp_path)
    reader = Reader(store, tmp_path / "cache")
    snapshot = reader.opened()
    (copy,) = (tmp_path / "cache").rglob("*.k.parquet")
    copy.write_bytes(zeros(copy.read_bytes()))
    with pytest.raises(PartsGone, match="on this machine"):
        find(snapshot)
    assert len(find(reader.opened())) == 6
    assert reader.warnings == []


def test_what_was_folded_before_the_damage_is_folded_again(tmp_path: Path) -> None:
    store = store_at("local", tmp_path)
    reader = Reader(store, tmp_path / "cache")
    snapshot = reader.opened()
    right = find(snapshot)
    change(store, checkpoint_key(store), gone)
    with pytest.raises(PartsGone):
        find(snapshot, {"config.a": {"$gte": 1}})
    assert find(reader.opened()) == right
    assert len(find(reader.opened(), {"config.a": {"$gte": 1}})) == 5


def find(snapshot: Snapshot, where: dict[str, Any] | None = None) -> list[str]:
    return find_runs(snapshot, parse_filter(where or {}), parse_order("+created_at"))[0]
