"""Opening a project: what is damaged, missing, newer or contradictory is said by name, and never silently less."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.query import snapshot as snapshot_module
from tracker.query.history import PartsGone
from tracker.query.run_files import RunPart
from tracker.query.runs import load_runs, visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.local import LocalStore
from tracker.storage.memory import MemoryStore
from tracker.storage.names import FORMAT_KEY, RunRef
from tracker.storage.port import ObjectInfo, Store
from tracker.storage.schema import PartFooter

NOW = T0 + 60 * 1_000_000


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "_PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def opened(store: LocalStore, tmp_path: Path, warnings: list[str]) -> Callable[..., Snapshot]:
    def run(at: Store = store, **options: Any) -> Snapshot:
        cache = PartCache(tmp_path / "cache", 1 << 30)
        return open_project(at, "main", "p", cache=cache, now_us=NOW, warn=warnings.append, **options)

    return run


def path_of(store: LocalStore, key: str) -> Path:
    path = store.local_path(key)
    assert path is not None
    return path


def steps(snapshot: Snapshot, run_id: str) -> int:
    return sum(part.rows for part in snapshot.runs[run_id].parts)


def families(part: RunPart) -> str:
    """The letter of the file that holds the part's history."""
    return part.info.key.rpartition("/")[2][0]


def test_a_project_that_is_not_there_is_empty(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    with pytest.raises(NotFound, match="There is no directory"):
        opened()
    made_run(store, "r")
    assert set(opened().runs) == {"r"}
    assert opened(run_id="none").runs == {}
    assert set(opened(run_id="r").runs) == {"r"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"not parquet at all, not even nearly" + data[35:-8],
        lambda data: b"PAR1" + bytes(len(data) - 8) + b"PAR1",
    ],
    ids=["truncated", "not parquet", "zeros"],
)
def test_one_damaged_part_among_good_ones_is_named_and_left_out(
    damage: Callable[[bytes], bytes], opened: Callable[..., Snapshot], store: LocalStore, warnings: list[str]
) -> None:
    writer = (
        MadeWriter(store, RunRef("main", "p", "r")).begin().log({"a": 1}).put().log({"a": 2}).put().log({"a": 3}).put()
    )
    made_run(store, "good", [{"a": 1}])
    bad = path_of(store, writer.key(2, 2))
    bad.write_bytes(damage(bad.read_bytes()))
    found = opened()
    assert steps(found, "r") == 2
    assert steps(found, "good") == 1
    assert len(warnings) == 1
    assert bad.name in warnings[0]
    assert "left out" in warnings[0]


def test_a_flipped_byte_in_a_page_is_seen(
    opened: Callable[..., Snapshot], store: LocalStore, warnings: list[str]
) -> None:
    writer = made_run(store, "r", [{"a": float(n)} for n in range(500)])
    made_run(store, "good", [{"a": 1}])
    path = path_of(store, writer.key(0, len(writer.frames) - 1))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(bytes(data))
    assert set(opened().runs) == {"good"}
    assert path.name in warnings[0]


def test_a_damaged_merged_file_is_replaced_by_the_smaller_ones_while_they_are_there(
    opened: Callable[..., Snapshot], store: LocalStore, warnings: list[str]
) -> None:
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin().put()
    for value in range(4):
        writer.log({"a": value}).put()
    keys = writer.merge(0, 4)
    history = next(key for key in keys if "/h-" in key)
    path_of(store, history).write_bytes(b"gone bad")
    (part,) = opened().runs["r"].parts  # known from its rollup; the history was not needed yet
    with pytest.raises(PartsGone, match="Open the project again"):
        part.marks()
    found = opened()
    assert steps(found, "r") == 4
    assert {families(part) for part in found.runs["r"].parts} == {"e"}
    assert history.rpartition("/")[2] in warnings[0]


def test_nothing_readable_is_an_error(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    writer = made_run(store, "r")
    path_of(store, writer.key(0, len(writer.frames) - 1)).write_bytes(b"x" * 100)
    with pytest.raises(CorruptData, match="not a whole Parquet file"):
        opened()


def test_a_part_of_a_newer_version_is_left_out_with_advice(
    opened: Callable[..., Snapshot], store: LocalStore, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(store, "old", [{"a": 1}])
    footer = MadeWriter.footer
    monkeypatch.setattr(
        MadeWriter,
        "footer",
        lambda self, first, last: PartFooter(**_fields(footer(self, first, last)) | {"format": 99}),
    )
    made_run(store, "new", [{"a": 1}])
    assert set(opened().runs) == {"old"}
    assert "pip install -U tracker" in warnings[0]


def _fields(footer: PartFooter) -> dict[str, Any]:
    return {name: getattr(footer, name) for name in footer.__dataclass_fields__}


def test_a_root_of_a_newer_version_is_refused(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    made_run(store, "r")
    store.put_if_absent(FORMAT_KEY, b'{"format": 2}')
    with pytest.raises(FormatTooNew, match="pip install -U tracker"):
        opened()


def test_missing_frames_are_an_error_and_never_a_shorter_answer(
    opened: Callable[..., Snapshot], store: LocalStore
) -> None:
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin().put().log({"a": 1}).put().log({"a": 2}).put()
    store.delete([writer.key(1, 1)])
    with pytest.raises(CorruptData, match="Frame 1 of writer"):
        opened()


def test_a_set_that_lost_a_family_is_an_error(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin().log({"a": 1})
    keys = writer.merge(0, 1)
    assert steps(opened(), "r") == 1
    store.delete([next(key for key in keys if "/h-" in key)])
    with pytest.raises(CorruptData, match="one of them is gone"):
        opened()


def test_a_part_in_another_runs_folder_is_refused_by_name(
    opened: Callable[..., Snapshot], store: LocalStore, warnings: list[str]
) -> None:
    writer = made_run(store, "r", [{"a": 1}])
    other = made_run(store, "other")
    key = writer.key(0, len(writer.frames) - 1)
    store.put_if_absent(f"{other.prefix.replace(other.id, writer.id)}{key.rpartition('/')[2]}", store.get(key))
    found = opened()
    assert steps(found, "r") == 1
    assert steps(found, "other") == 0
    assert "says of itself" in warnings[0]


def test_two_histories_of_one_writer_are_reported(
    opened: Callable[..., Snapshot], store: LocalStore, warnings: list[str]
) -> None:
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin().put().log({"a": 1}).put()
    writer.frames.pop()
    writer.log({"a": 2}).put(1, 1)
    found = opened()
    assert steps(found, "r") == 0
    assert "two histories" in warnings[0]


def test_foreign_files_are_no_error(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    made_run(store, "r")
    for key in (
        "main/p/runs/notes.txt",
        "main/p/runs/0/r/README",
        "main/p/things/x/y.parquet",
        "main/p/runs/a.parquet",
    ):
        store.put_if_absent(key, b"hello")
    assert set(opened().runs) == {"r"}


class Meddler(LocalStore):
    """Calls `meddle` after each listing, as another process would."""

    meddle: Callable[[], None] = staticmethod(lambda: None)

    def list(self, prefix: str) -> list[ObjectInfo]:
        listed = super().list(prefix)
        meddle, self.meddle = self.meddle, lambda: None
        meddle()
        return listed


def test_what_is_merged_and_deleted_after_the_listing_is_listed_again(
    opened: Callable[..., Snapshot], tmp_path: Path
) -> None:
    store = Meddler(tmp_path / "busy")
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin().put().log({"a": 1}).put()

    def meddle() -> None:
        writer.merge(0, 1)
        store.delete([writer.key(0, 0), writer.key(1, 1)])

    store.meddle = meddle
    found = opened(store)
    assert {families(part) for part in found.runs["r"].parts} == {"h"}
    assert steps(found, "r") == 1


def test_files_that_vanish_after_opening_are_told_apart_from_damage(
    opened: Callable[..., Snapshot], store: LocalStore
) -> None:
    writer = made_run(store, "r", [{"a": 1}])
    found = opened()
    store.delete([writer.key(0, len(writer.frames) - 1)])
    with pytest.raises(PartsGone, match="Try again"):
        found.paths(found.runs["r"].parts)


def test_a_remote_store_is_read_through_the_cache_and_parts_are_fetched_once(
    opened: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    made_run(store, "r", [{"a": 1}])
    fetched: list[int] = []
    get_many = MemoryStore.get_many
    monkeypatch.setattr(
        MemoryStore, "get_many", lambda self, keys: (fetched.append(len(keys)), get_many(self, keys))[1]
    )
    for _ in range(3):
        assert steps(opened(store), "r") == 1
    assert fetched == [1]


def test_names_come_from_the_footer_where_the_path_is_cut(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    run_id = "Ä" * 60
    made_run(store, run_id)
    assert set(opened().runs) == {run_id}
    assert set(opened(run_id=run_id).runs) == {run_id}


def test_equal_listings_are_equal_and_new_data_is_not(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin().log({"a": 1}).put()
    first = opened()
    assert opened().identity == first.identity
    assert load_runs(first, ["r"])[0].summary["a"] == 1
    writer.log({"a": 2}).put()
    second = opened()
    assert second.identity != first.identity
    assert load_runs(second, ["r"])[0].summary["a"] == 2
    assert load_runs(first, ["r"])[0].summary["a"] == 1


def test_a_running_session_becomes_crashed_as_time_goes_by(store: LocalStore, tmp_path: Path) -> None:
    made_run(store, "r", [{"a": 1}], state="running")
    cache = PartCache(tmp_path / "cache", 1 << 30)

    def state(now_us: int) -> str:
        snapshot = open_project(store, "main", "p", cache=cache, now_us=now_us, warn=pytest.fail)
        return load_runs(snapshot, ["r"])[0].state

    assert [state(T0 + minutes * 60_000_000) for minutes in (1, 4, 6, 1)] == [
        "running",
        "running",
        "crashed",
        "running",
    ]


def test_hidden_writers_have_no_files(opened: Callable[..., Snapshot], store: LocalStore) -> None:
    made_run(store, "r", [{"a": 1}])
    later = MadeWriter(store, RunRef("main", "p", "r"), 5, start_us=T0 + 30_000_000).begin().put()
    (files,) = visible_files(opened(), ["r"])
    assert {part.writer_id for part in files.parts} == {later.id}


def test_a_damaged_rollup_costs_nothing_but_time(
    opened: Callable[..., Snapshot], store: LocalStore, warnings: list[str]
) -> None:
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin()
    for value in range(6):
        writer.log({"a": value}, commit=value != 5)
    writer.log({"b": "open"}, commit=False)
    keys = writer.merge(0, len(writer.frames) - 1)
    (rollup,) = (key for key in keys if "/r-" in key)
    (good,) = opened().runs["r"].parts
    path_of(store, rollup).write_bytes(b"no rollup any more")
    (other,) = opened().runs["r"].parts
    assert warnings == []
    for name in ("rows", "step_first", "step_last", "plain", "hlc_max_us", "run_id", "writer_id", "first", "last"):
        assert getattr(good, name) == getattr(other, name), name
    assert good.records.last_mark() == other.records.last_mark()
    assert list(good.keys) == list(other.keys) == ["a", "b"]
    for name in ("last", "open", "system", "facts"):
        tables = [getattr(part.records, name) for part in (good, other)]
        assert sorted(map(str, tables[0].to_pylist())) == sorted(map(str, tables[1].to_pylist())), name
    series = good.series("a")
    assert series is not None
    assert (series.count, series.min_v, series.max_v, series.last_step) == (5, 0.0, 4.0, 4)
    assert other.series("a") is None
