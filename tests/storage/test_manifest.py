"""Manifests: one winner a number, the highest counts, lost replies are told from lost races."""

from __future__ import annotations

import json

import pytest
from pack_world import FakeStore

from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.manifest import (
    EMPTY,
    Checkpoint,
    Manifest,
    Pack,
    PurgedRun,
    decode_manifest,
    newest_manifest,
    publish_manifest,
)
from tracker.storage.names import manifest_key, new_ulid

FULL = Manifest(
    number=7,
    nonce="n",
    packs=(Pack(id="a", families={"f": 3, "cover": 4}, writers=2, events=9, hlc_max_us=5, since=6),),
    checkpoints=(Checkpoint(id="b", size_bytes=8, packs=("a",), hlc_max_us=5),),
    purged=(PurgedRun(run_id="Ü", hlc_us=4, writers=("w",), since=2),),
    gc={"c": 7},
)


def test_a_manifest_is_read_as_it_was_written():
    assert decode_manifest(FULL.encode(), 7, "m") == FULL
    assert decode_manifest(FULL.encode(), 7, "m", 55).modified_us == 55


def test_the_highest_number_counts_and_none_is_empty():
    store = FakeStore()
    assert newest_manifest(store, "main", "p") == EMPTY
    for number in (0, 1, 2, 10):
        assert publish_manifest(store, "main", "p", Manifest(number=number, nonce=str(number)))
    assert newest_manifest(store, "main", "p").nonce == "10"


def test_of_two_with_one_number_the_first_wins_and_may_repeat_itself():
    store = FakeStore()
    mine = Manifest(number=0, nonce="mine")
    assert publish_manifest(store, "main", "p", mine)
    assert publish_manifest(store, "main", "p", mine)  # its reply was lost
    assert not publish_manifest(store, "main", "p", Manifest(number=0, nonce="other"))
    assert newest_manifest(store, "main", "p").nonce == "mine"


def test_one_that_goes_while_it_is_read_is_looked_for_again():
    store = FakeStore()
    publish_manifest(store, "main", "p", Manifest(number=0, nonce="old"))

    def replace(number: int, verb: str, key: str) -> None:
        if verb == "get":
            store.at = lambda *_: None
            publish_manifest(store, "main", "p", Manifest(number=1, nonce="new"))
            store.delete([manifest_key("main", "p", 0)])

    store.at = replace
    assert newest_manifest(store, "main", "p").nonce == "new"


def test_what_is_listed_but_never_there_is_said():
    store = FakeStore()
    publish_manifest(store, "main", "p", Manifest(number=0))

    def hide(number: int, verb: str, key: str) -> None:
        store.objects.pop(key, None) if verb == "get" else store.objects.setdefault(
            manifest_key("main", "p", 0), (b"{}", 1)
        )

    store.at = hide
    with pytest.raises(CorruptData, match="not there"):
        newest_manifest(store, "main", "p")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", CorruptData),
        (b"[]", CorruptData),
        (b"{}", CorruptData),
        (b'{"format": 1, "number": 8}', CorruptData),
        (b'{"format": 1, "number": 7, "packs": [{}]}', CorruptData),
        (b'{"format": 2, "number": 7}', FormatTooNew),
    ],
)
def test_what_is_no_manifest_is_refused_by_name(data: bytes, error: type[Exception]):
    with pytest.raises(error, match="the-name"):
        decode_manifest(data, 7, "the-name")


def test_fields_of_later_versions_are_ignored():
    data = json.dumps(json.loads(FULL.encode()) | {"later": 1}).encode()
    assert decode_manifest(data, 7, "m") == FULL


def test_a_purge_hides_known_writers_and_those_begun_before():
    purged = PurgedRun(run_id="r", hlc_us=5_000_000, writers=("known",))
    assert purged.hides("known")
    assert purged.hides(new_ulid(5_000_000))
    assert not purged.hides(new_ulid(5_001_000))
    assert not purged.hides("another")
