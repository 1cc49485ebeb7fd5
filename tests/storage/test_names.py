"""Names in the store: nothing a user writes can collide, escape, or be refused by a file system."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracker.storage.errors import UsageError
from tracker.storage.keys import check_key
from tracker.storage.names import (
    PartName,
    RunRef,
    decode_name,
    edits_prefix,
    encode_name,
    is_ulid,
    new_ulid,
    parse_edit_key,
    parse_event_key,
    parse_part_key,
    parse_thing_key,
    project_prefix,
    run_prefix,
    runs_prefix,
    thing_prefix,
    things_prefix,
    ulid_time_us,
)

AWKWARD = st.text(alphabet="aAbB.!_-/\\0123456789cefonCON \u00e9\u0130\u212a\ud800\U0001f600", min_size=1, max_size=60)
NAMES = st.one_of(AWKWARD, st.text(st.characters(exclude_categories=[]), min_size=1, max_size=200))
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@given(name=NAMES)
@example(name=".")
@example(name="..")
@example(name="con")
@example(name="nul.txt")
@example(name="a.")
@example(name="_")
@example(name="!2e")
@example(name="x" * 121)
@example(name="\ud800")
def test_a_name_becomes_one_plain_segment(name: str) -> None:
    segment = encode_name(name)
    assert re.fullmatch(r"[a-z0-9.!_-]+", segment)
    assert segment not in {".", ".."}
    assert segment[0] not in "._"
    assert segment[-1] != "."
    assert not DEVICES.fullmatch(segment)
    assert len(segment.encode()) <= 120
    assert check_key(segment) == segment


@given(name=NAMES)
@example(name="a!21b")
def test_what_was_not_cut_decodes_to_itself(name: str) -> None:
    """So no two names share a segment; and since no capital is left, not even where case is folded."""
    segment = encode_name(name)
    assert segment == segment.casefold()
    assert decode_name(segment) == (None if "!!" in segment else name)


@given(head=st.text(min_size=100, max_size=100), one=NAMES, other=NAMES)
def test_long_names_that_begin_alike_stay_apart(head: str, one: str, other: str) -> None:
    tail = "x" * 60
    assert (encode_name(head + tail + one) == encode_name(head + tail + other)) == (one == other)


@given(name=NAMES)
def test_cut_segments_never_equal_whole_ones(name: str) -> None:
    segment = encode_name(name)
    assert ("!!" in segment) == (len("".join(map(_spelled, name))) + _extra(name) > 120)


def _spelled(char: str) -> str:
    keep = string.ascii_lowercase + string.digits + "-._"
    return char if char in keep else "".join(f"!{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


def _extra(name: str) -> int:
    """Characters added by escaping the first and last one."""
    first = name[0] in "._" or bool(re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.DOTALL))
    return 2 * (first + (name[-1] == "." and len(name) > 1))


@given(names=st.lists(NAMES, min_size=2, max_size=2, unique=True))
@example(names=["a", "A"])
@example(names=["a.", "a!2e"])
@example(names=["con", "!63on"])
def test_different_names_have_different_segments(names: list[str]) -> None:
    assert encode_name(names[0]).casefold() != encode_name(names[1]).casefold()


def test_names_stay_readable() -> None:
    assert encode_name("lr-0.01_run.7") == "lr-0.01_run.7"
    assert encode_name("My Run") == "!4dy!20!52un"
    assert encode_name("con") == "!63on"
    assert encode_name("..") == "!2e!2e"


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(UsageError, match="must not be empty"):
        encode_name("")


@given(entity=NAMES, project=NAMES, run=NAMES)
def test_a_run_lies_in_its_project(entity: str, project: str, run: str) -> None:
    prefix = run_prefix(RunRef(entity, project, run))
    assert prefix.startswith(runs_prefix(entity, project))
    assert runs_prefix(entity, project).startswith(project_prefix(entity, project))
    segments = prefix.split("/")
    assert len(segments) == 6
    assert (segments[2], len(segments[3]), segments[4], segments[5]) == ("runs", 1, encode_name(run), "")


FRAMES = st.integers(min_value=0, max_value=10**12 - 1)


NOISE = st.binary(min_size=10, max_size=10)


@given(run=NAMES, first=FRAMES, last=FRAMES, family=st.sampled_from("efhscrk"), noise=NOISE)
def test_the_key_of_a_part_comes_back(run: str, first: int, last: int, family: str, noise: bytes) -> None:
    ref = RunRef("e", "p", run)
    part = PartName(encode_name(run), new_ulid(10**15, noise), family, first, last, noise.hex()[:16])
    key = f"{run_prefix(ref)}{part.writer_id}/{part.file_name}"
    assert parse_part_key(key) == (part if first <= last else None)


WORDS = st.sampled_from(["things", "edits", "runs", "packs", "0", "report", "01hzzzzzzzzzzzzzzzzzzzzzzz"])


@given(
    place=st.tuples(WORDS | NAMES, WORDS | NAMES),
    kind=st.sampled_from(["report", "user", "things", "runs", "a-b_2"]),
    thing=WORDS | NAMES,
    noise=NOISE,
)
def test_the_key_of_a_things_file_comes_back_and_is_nothing_else(
    place: tuple[str, str], kind: str, thing: str, noise: bytes
) -> None:
    """Whatever entity, project and thing are called: like folders of the store, or like a writer."""
    entity, project = place
    part = PartName(f"{kind}/{encode_name(thing)}", new_ulid(10**15, noise), "e", 0, 7, noise.hex()[:16])
    key = f"{thing_prefix(entity, project, kind, thing)}{part.writer_id}/{part.file_name}"
    assert key.startswith(things_prefix(entity, project))
    assert parse_event_key(key) == parse_thing_key(key) == part
    assert parse_part_key(key) is parse_edit_key(key) is None


@given(place=st.tuples(WORDS, WORDS), run=WORDS, noise=NOISE)
def test_files_of_runs_and_edits_are_taken_for_what_they_are(place: tuple[str, str], run: str, noise: bytes) -> None:
    writer = new_ulid(10**15, noise)
    for prefix, segment in ((run_prefix(RunRef(*place, run)), encode_name(run)), (edits_prefix(*place), "")):
        part = PartName(segment, writer, "e", 0, 7, noise.hex()[:16])
        assert parse_event_key(f"{prefix}{writer}/{part.file_name}") == part


@pytest.mark.parametrize("kind", ["", "edits", "A", "a/b", ".", "a b", "é"])
def test_what_is_no_kind_of_a_thing(kind: str) -> None:
    with pytest.raises(UsageError, match="no kind of a thing"):
        things_prefix("e", "p", kind)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "e/p/runs/0/r/README",
        "e/p/runs/0/r/w/e-000000000000-000000000001-0123456789abcdef.parquet",
        "e/p/things/0/r/01hzzzzzzzzzzzzzzzzzzzzzzz/e-000000000000-000000000001-0123456789abcdef.parquet",
        "e/p/runs/0/r/01hzzzzzzzzzzzzzzzzzzzzzzz/e-000000000000-000000000001-0123456789abcdef.parquet.tmp",
        "e/p/runs/0/r/01hzzzzzzzzzzzzzzzzzzzzzzz/e-0-1-0123456789abcdef.parquet",
        "e/p/runs/x/r/01hzzzzzzzzzzzzzzzzzzzzzzz/e-000000000000-000000000001-0123456789abcdef.parquet",
    ],
)
def test_foreign_files_are_no_parts(key: str) -> None:
    assert parse_part_key(key) is None


@given(
    times=st.lists(st.integers(min_value=0, max_value=2**48 * 1000 - 1), min_size=2, max_size=2),
    noise=st.binary(min_size=10, max_size=10),
)
def test_ulids_sort_by_time_and_tell_it(times: list[int], noise: bytes) -> None:
    early, late = sorted(times)
    one, other = new_ulid(early, noise), new_ulid(late, noise)
    assert is_ulid(one)
    assert len(one) == 26
    assert one <= other
    assert ulid_time_us(one) == early // 1000 * 1000
    assert encode_name(one) == one


def test_ulids_of_one_moment_differ() -> None:
    assert len({new_ulid(10**15) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["", "x", "8" + "0" * 25, "0" * 25, "0" * 27, "0" * 25 + "i", "0" * 25 + "A"])
def test_what_is_no_ulid(text: str) -> None:
    assert not is_ulid(text)
