"""The format file: written once, read by every version, refused politely when it asks for more."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.format_file import PACKS, check_format, ensure_format, requires_feature
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.stores import open_store


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    yield MemoryStore("format")
    forget_memory("format")


def test_the_first_writer_says_the_format(store_url: str) -> None:
    store = open_store(store_url)
    ensure_format(store)
    said = json.loads(store.get("_format.json"))
    assert (said["format"], said["required_features"]) == (1, ["packs"])
    assert said["created_by"].startswith("tracker ")
    assert check_format(store)


def test_a_feature_is_required_only_where_the_root_says_so(store: MemoryStore) -> None:
    assert not requires_feature(store, PACKS)
    ensure_format(store)
    assert requires_feature(store, PACKS)
    assert not requires_feature(store, "columns")


def test_a_store_that_says_nothing_yet_is_readable(store: MemoryStore) -> None:
    assert not check_format(store)


def test_another_version_of_the_same_format_is_fine(store: MemoryStore) -> None:
    theirs = b'{"format": 1, "required_features": [], "created_by": "tracker 0.0.9", "more": {}}'
    store.put_if_absent("_format.json", theirs)
    ensure_format(store)
    assert store.get("_format.json") == theirs


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"format": 2, "required_features": []}, "format 2"),
        ({"format": 1, "required_features": ["sharding", "columns", "packs"]}, "the features columns, sharding"),
    ],
)
def test_a_newer_format_is_refused_by_name(store: MemoryStore, content: dict[str, object], names: str) -> None:
    store.put_if_absent("_format.json", json.dumps(content).encode())
    for use in (ensure_format, check_format):
        with pytest.raises(FormatTooNew, match=f"{names}.*pip install -U tracker"):
            use(store)


NOT_OURS = [b"{", b"[]", b"1", b"{}", b'{"format": true}', b'{"format": "1"}', b"\xff"]


@pytest.mark.parametrize("content", [*NOT_OURS, b'{"format": 1, "required_features": [1]}'])
def test_something_else_under_that_name_is_corrupt(store: MemoryStore, content: bytes) -> None:
    store.put_if_absent("_format.json", content)
    for use in (ensure_format, check_format):
        with pytest.raises(CorruptData, match="is not tracker's format file"):
            use(store)


def test_whoever_loses_the_race_checks_what_the_winner_wrote(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our put, a newer tracker was there."""
    put = store.put_if_absent

    def late(key: str, data: bytes) -> None:
        put(key, b'{"format": 9}')
        put(key, data)

    monkeypatch.setattr(store, "put_if_absent", late)
    with pytest.raises(FormatTooNew, match="format 9"):
        ensure_format(store)
