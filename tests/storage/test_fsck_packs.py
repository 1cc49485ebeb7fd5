"""Packs, covers, checkpoints and manifests against what they are made of."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_maker import T0, made_run

from tracker.storage import fsck
from tracker.storage.derived import parse_derived_footer, read_derived, write_derived
from tracker.storage.format_file import ensure_format
from tracker.storage.fsck import check_project
from tracker.storage.fsck_report import FsckReport
from tracker.storage.manifest import Manifest, newest_manifest, publish_manifest
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.names import manifest_key, pack_key
from tracker.storage.packing import compact_project
from tracker.storage.quarantine import repair
from tracker.storage.schema import PackFooter


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    """Runs a, b, c in one pack and one checkpoint; their loose files are gone."""
    monkeypatch.setattr(fsck, "_PAUSES_S", (0.0, 0.0))
    made = MemoryStore("fsck-packs")
    ensure_format(made)
    for name in "abc":
        made_run(made, name, [{"loss": 1 / (n + 1), "acc": n} for n in range(9)], config={"name": name})
    compact_project(made, "main", "p", now_us=T0, finished_quiet_s=0)
    made.delete([info.key for info in made.list("main/p/runs/")])
    yield made
    forget_memory("fsck-packs")


def check(store: MemoryStore) -> FsckReport:
    return check_project(store, "main", "p")


def found(report: FsckReport) -> dict[str, list[str]]:
    codes: dict[str, list[str]] = {}
    for finding in report.findings:
        codes.setdefault(finding.code, []).append(finding.key)
    return codes


def manifest(store: MemoryStore) -> Manifest:
    return newest_manifest(store, "main", "p")


def key_of(store: MemoryStore, family: str) -> str:
    newest = manifest(store)
    return pack_key("main", "p", newest.checkpoints[0].id if family == "k" else newest.packs[0].id, family)


def change(store: MemoryStore, key: str, how: Callable[[bytes], bytes]) -> None:
    data = how(store.get(key))
    store.delete([key])
    store.put_if_absent(key, data)


def flip_middle(data: bytes) -> bytes:
    """A stretch long enough to hit more than the statistics of a page header, which nobody reads."""
    at = len(data) // 3
    return data[:at] + bytes(byte ^ 1 for byte in data[at : at + 64]) + data[at + 64 :]


def test_packs_that_are_sound_have_no_findings(store: MemoryStore) -> None:
    report = check(store)
    assert report.findings == []
    assert report.runs == 3
    assert report.events == manifest(store).packs[0].events
    assert report.packed == {(name, writer): last for (name, writer), last in report.packed.items()}
    assert sorted(name for name, _ in report.packed) == ["a", "b", "c"]


@pytest.mark.parametrize("family", ["h", "f", "cover"])
def test_a_damaged_file_of_a_pack_is_found_and_never_moved(store: MemoryStore, family: str) -> None:
    key = key_of(store, family)
    change(store, key, flip_middle)
    report = check(store)
    assert "damaged" in found(report), report.findings
    assert found(report)["damaged"] == [key]
    repair(store, report, now_us=T0, dry_run=False)
    assert report.moved == []
    assert [one for one, _ in report.kept] == [key]


@pytest.mark.parametrize("family", ["r", "k"])
def test_a_damaged_derived_file_is_a_warning(store: MemoryStore, family: str) -> None:
    key = key_of(store, family)
    change(store, key, flip_middle)
    report = check(store)
    assert found(report) == {"derived": [key]}
    assert report.is_sound


@pytest.mark.parametrize(("family", "code"), [("h", "missing-pack"), ("cover", "missing-pack"), ("k", "derived")])
def test_a_missing_file_is_found(store: MemoryStore, family: str, code: str) -> None:
    key = key_of(store, family)
    store.delete([key])
    report = check(store)
    assert found(report)[code] == [key.removeprefix("main/p/")]


def rewritten(data: bytes, edit: Callable[[pa.Table], pa.Table]) -> bytes:
    """The derived file with other records and a true footer."""
    with pq.ParquetFile(io.BytesIO(data)) as file:
        footer = parse_derived_footer(file.metadata, "k")
    assert isinstance(footer, PackFooter)
    return write_derived([edit(read_derived(pa.BufferReader(data), "k"))], footer)


def with_column(name: str, how: Callable[[list[object]], list[object]]) -> Callable[[bytes], bytes]:
    def edit(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        values = pa.array(how(table[name].to_pylist()), field.type)
        return table.set_column(table.schema.get_field_index(name), field, values)

    return lambda data: rewritten(data, edit)


def first_plus_one(values: list[object]) -> list[object]:
    assert isinstance(values[0], int)
    return [values[0] + 1, *values[1:]]


@pytest.mark.parametrize("column", ["events", "rows", "last_hlc", "first_hlc", "last_wall_us"])
def test_a_cover_that_says_otherwise_than_its_pack_is_found(store: MemoryStore, column: str) -> None:
    key = key_of(store, "cover")
    change(store, key, with_column(column, first_plus_one))
    report = check(store)
    assert key in found(report)["bad-cover"]
    assert any("of run 'a'" in one.text for one in report.findings)


def test_a_cover_that_ends_too_early_is_found(store: MemoryStore) -> None:
    """Frames beyond it would count twice once somebody packs them again."""
    key = key_of(store, "cover")
    change(store, key, with_column("last_frame", lambda values: [3, *values[1:]]))
    report = check(store)
    assert any("not within 0..3" in one.text for one in report.findings if one.code == "bad-cover")


def test_a_cover_that_forgets_a_writer_is_found(store: MemoryStore) -> None:
    key = key_of(store, "cover")
    change(store, key, lambda data: rewritten(data, lambda table: table.slice(1)))
    texts = [one.text for one in check(store).findings if one.code == "bad-cover"]
    assert any("does not name writer" in text for text in texts)
    assert any("3 writers" in text for text in texts)


def test_a_checkpoint_that_names_other_writers_is_found(store: MemoryStore) -> None:
    key = key_of(store, "k")
    change(store, key, with_column("last_frame", lambda values: [value and 5 for value in values]))
    report = check(store)
    assert found(report)["derived"][-1] == key
    assert report.is_sound


def test_a_manifest_that_lists_too_much_or_cannot_be_read_is_found(store: MemoryStore) -> None:
    newest = manifest(store)
    ghost = replace(newest.packs[0], id="01hf0000000000000000000000")
    assert publish_manifest(store, "main", "p", replace(newest, number=newest.number + 1, packs=(*newest.packs, ghost)))
    codes = found(check(store))
    assert len(codes["missing-pack"]) == len(ghost.families.keys() - {"r"})
    store.put_if_absent(manifest_key("main", "p", newest.number + 2), b"{")
    report = check(store)
    assert found(report)["bad-manifest"] == [manifest_key("main", "p", newest.number + 2)]
    newer = replace(newest, number=newest.number + 3)
    assert publish_manifest(store, "main", "p", newer)
    assert found(check(store)) == {"old-manifest": [manifest_key("main", "p", newest.number + 2)]}


def test_a_pack_that_no_manifest_lists_is_a_note(store: MemoryStore) -> None:
    key = pack_key("main", "p", "01hf0000000000000000000000", "h")
    store.put_if_absent(key, b"anything")
    report = check(store)
    assert found(report) == {"unlisted-pack": [key]}
    assert report.is_sound


def test_a_pack_under_another_name_is_found(store: MemoryStore) -> None:
    newest = manifest(store)
    other = replace(newest.packs[0], id="01hf0000000000000000000000")
    for family in other.families:
        data = store.get(pack_key("main", "p", newest.packs[0].id, family))
        store.put_if_absent(pack_key("main", "p", other.id, family), data)
    checkpoint = replace(newest.checkpoints[0], packs=(other.id,))
    assert publish_manifest(
        store, "main", "p", replace(newest, number=newest.number + 1, packs=(other,), checkpoints=(checkpoint,))
    )
    assert len(found(check(store))["misplaced"]) == len(other.families)


def test_loose_files_go_on_where_packs_end(store: MemoryStore) -> None:
    """What packs hold is no gap; what lies beyond them without its beginning is one."""
    writer = made_run(MemoryStore("fsck-more"), "a", [{"loss": 1 / (n + 1), "acc": n} for n in range(9)],
                      config={"name": "a"})  # fmt: skip
    writer.store = store
    writer.log({"loss": 0.0}).put()
    assert check(store).findings == []
    writer.log({"loss": 0.0}).log({"loss": 1.0})
    writer.put(writer.shipped + 1, writer.shipped + 1)
    assert list(found(check(store))) == ["gap"]
    forget_memory("fsck-more")


@pytest.mark.parametrize("column", ["count", "max_v", "last_step", "v"])
def test_a_rollup_that_is_not_what_its_events_come_to_is_found(store: MemoryStore, column: str) -> None:
    key = key_of(store, "r")

    def greater(values: list[object]) -> list[object]:
        at = next(n for n, value in enumerate(values) if isinstance(value, int | float))
        return [*values[:at], values[at] + 1, *values[at + 1 :]]  # type: ignore[operator]

    change(store, key, with_column(column, greater))
    report = check(store)
    texts = [one.text for one in report.findings if one.key == key]
    assert any(f"column {column} of its records" in text for text in texts), texts


@pytest.mark.parametrize(("column", "what"), [("s", "fact"), ("seq", "fact"), ("max_v", "series"), ("count", "series")])
def test_a_checkpoint_that_is_not_what_its_packs_come_to_is_found(store: MemoryStore, column: str, what: str) -> None:
    key = key_of(store, "k")

    def other(values: list[object]) -> list[object]:
        at = next(n for n, value in enumerate(values) if value is not None)
        value = values[at]
        changed = f"{value}!" if isinstance(value, str) else value + 1  # type: ignore[operator]
        return [*values[:at], changed, *values[at + 1 :]]

    change(store, key, with_column(column, other))
    texts = [one.text for one in check(store).findings]
    assert any(f"column {column} of its records {what}" in text for text in texts), texts


def test_a_checkpoint_that_forgot_a_fact_is_found(store: MemoryStore) -> None:
    key = key_of(store, "k")
    change(store, key, lambda data: rewritten(data, lambda table: table.slice(1)))
    assert any("records fact of pack" in one.text for one in check(store).findings)
