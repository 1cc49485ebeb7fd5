"""Facts that tell of files: contents named, or held within where they are short."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tracker.storage.blobs import blobs_in_text
from tracker.storage.events import encode_cell, join_path
from tracker.storage.file_facts import TEXT_BYTES_MAX, FileFact, Policy, read_short
from tracker.storage.staging import Content


@pytest.mark.parametrize(
    "text", ["a: 1\n", "\r\x1b[31m\x00\u2028 é 🙂 \"quoted\"\\", "x" * TEXT_BYTES_MAX, '{"sha256": "' + "0" * 64 + '"}']
)
def test_a_short_text_travels_within_the_fact(text: str) -> None:
    """And nothing in it is taken for the name of a content."""
    data = text.encode()
    fact = FileFact.short("config.yaml", data, 7, "now")
    assert fact is not None
    _, _, path, value = fact.row
    stored = encode_cell(value)[3]
    assert stored is not None
    assert blobs_in_text(stored) == set()
    read = FileFact.parse(path, json.loads(stored))
    assert read == fact
    assert read.text == text
    assert read.sha256 == hashlib.sha256(data).hexdigest()
    assert read.size == len(data)


@pytest.mark.parametrize(
    ("name", "data", "policy"),
    [
        ("requirements.txt", b"a==1\n", "now"),  # runs share it
        ("code/config.yaml", b"a: 1\n", "now"),
        ("config.yaml", b"", "now"),  # needs no object
        ("config.yaml", b"x" * (TEXT_BYTES_MAX + 1), "now"),
        ("config.yaml", b"\xff\xfe", "now"),
        ("config.yaml", b"\xed\xa0\x80", "now"),  # a surrogate, which is no UTF-8
        ("output.log", b"may come again and again", "live"),
    ],
)
def test_other_contents_stay_objects(tmp_path: Path, name: str, data: bytes, policy: Policy) -> None:
    (tmp_path / "file").write_bytes(data)
    assert FileFact.short(name, data, 7, policy) is None
    assert read_short(name, tmp_path / "file", 7, policy) is None


def test_a_short_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"line\n")
    fact = read_short("output.log", tmp_path / "file", 7, "end")
    assert fact is not None
    assert (fact.text, fact.size, fact.modified_us, fact.policy) == ("line\n", 5, 7, "end")
    with pytest.raises(FileNotFoundError):
        read_short("output.log", tmp_path / "gone", 7, "end")


def test_what_is_no_file_is_left_out() -> None:
    """A newer release may say more, or say it in another way."""
    path = join_path(["a.txt"])
    named = FileFact.of("a.txt", Content("0" * 64, 3), 7, "now")
    assert FileFact.parse(path, named.row[3]) == named
    assert FileFact.parse(path, named.row[3] | {"later": 1}) == named
    for value in ("text", {"_type": "other"}, {"_type": "file", "size": 3}, {"_type": "file", "text": "abc"}):
        assert FileFact.parse(path, value) is None
