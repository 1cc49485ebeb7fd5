"""The projects of a store are found by listing, whatever their names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tracker.query.projects import ProjectName, find_projects
from tracker.storage.derived import write_derived
from tracker.storage.errors import NotFound
from tracker.storage.names import ENTITY_PROJECT, FORMAT_KEY, PartName, RunRef, encode_name, pack_key, run_prefix
from tracker.storage.port import Store
from tracker.storage.schema import SCHEMA, PackFooter, PartFooter, write_events
from tracker.storage.stores import open_store
from tracker.storage.things import ThingWriter

WRITER = "01hf0000000000000000000000"


def put_part(store: Store, entity: str, project: str) -> None:
    footer = PartFooter(
        entity=entity, project=project, run_id="r", writer_id=WRITER, family="e", first=0, last=0, mark="0" * 16
    )
    part = PartName(encode_name("r"), WRITER, "e", 0, 0, footer.mark)
    key = f"{run_prefix(RunRef(entity, project, 'r'))}{WRITER}/{part.file_name}"
    store.put_if_absent(key, write_events(pa.Table.from_pylist([], SCHEMA), footer))


NAMES = [("main", "digits"), ("main", "Größe/2 .."), ("Team", "x" * 300), ("e" * 300, "p")]


def test_every_project_is_found_under_its_full_name(store_url: str) -> None:
    store = open_store(store_url)
    store.put_if_absent(FORMAT_KEY, b'{"format": 1}')
    store.put_if_absent("vacuum/marker", b"clock")
    store.put_if_absent("main/no-runs/things/x", b"thing")
    for entity, project in NAMES:
        put_part(store, entity, project)
    assert find_projects(store) == sorted(ProjectName(*name) for name in NAMES)
    assert find_projects(store, "main") == [ProjectName("main", "Größe/2 .."), ProjectName("main", "digits")]
    assert find_projects(store, "nobody") == []
    assert str(ProjectName("main", "digits")) == "main/digits"
    store.close()


def test_an_empty_root_has_no_projects(tmp_path: Path) -> None:
    assert find_projects(open_store(str(tmp_path))) == []


def test_a_project_that_was_made_is_found_under_its_full_name_and_other_things_make_none(store_url: str) -> None:
    store = open_store(store_url)
    for entity, project, kind in (
        ("main", "made", "project"),
        ("main", "long" * 100, "project"),
        ("main", "only-a-report", "report"),
        ("main", ENTITY_PROJECT, "user"),
    ):
        ThingWriter(store, entity, project, kind, project).write([("created_at", 1)])
    assert find_projects(store) == [ProjectName("main", "long" * 100), ProjectName("main", "made")]
    assert find_projects(store, reserved=True)[0] == ProjectName("main", ENTITY_PROJECT)
    store.close()


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_a_missing_bucket_is_told(kind: str, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue(f"{kind}_url")).replace("bucket-", "missing-")
    with pytest.raises(NotFound):
        find_projects(open_store(url))


def test_a_project_whose_runs_are_all_packed_is_found_too(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for project in ("short", "long" * 100):
        cover = PackFooter(entity="main", project=project, pack_id=WRITER, family="cover", writers=0)
        store.put_if_absent(pack_key("main", project, WRITER, "cover"), write_derived([], cover))
    assert find_projects(store) == [ProjectName("main", "long" * 100), ProjectName("main", "short")]
