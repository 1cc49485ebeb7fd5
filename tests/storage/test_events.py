"""Values and paths: what is written comes back, exactly."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracker.storage.events import (
    DELETED,
    INT64_MAX,
    INT64_MIN,
    POINT_KINDS,
    JsonText,
    Type,
    decode_cell,
    encode_cell,
    family_of,
    flatten,
    join_path,
    path_text,
    split_path,
    unflatten,
)
from tracker.storage.frames import (
    Facts,
    Log,
    Lost,
    Points,
    RowMark,
    decode_frame,
    encode_frame,
    pack_value,
    unpack_value,
)

TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates too
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8)
VALUES = st.one_of(SCALARS, st.lists(NESTED), st.dictionaries(TEXT, NESTED))


def same(one: Any, other: Any) -> bool:
    """Equal and of one type, all the way down; NaN is itself, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)


@given(value=VALUES)
@example(value=-0.0)
@example(value=math.nan)
@example(value=-math.inf)
@example(value=5e-324)
@example(value=INT64_MAX)
@example(value=INT64_MAX + 1)
@example(value=INT64_MIN)
@example(value=INT64_MIN - 1)
@example(value=10**400)
@example(value=True)
@example(value="")
@example(value="\ud800")
@example(value="\0")
@example(value=[math.nan, {"_type": "x"}])
@example(value={})
def test_a_cell_comes_back(value: Any) -> None:
    assert same(decode_cell(*encode_cell(value)), value)


@given(value=VALUES)
def test_a_value_travels_through_a_frame(value: Any) -> None:
    packed = pack_value(value)
    frame = decode_frame(encode_frame(Points(1, 2, "system", {"k": packed})))
    assert isinstance(frame, Points)
    back = unpack_value(frame.cells["k"])
    assert same(json.loads(back.text) if isinstance(back, JsonText) else back, value)


@given(value=VALUES)
def test_a_frame_and_the_value_itself_make_the_same_cell(value: Any) -> None:
    frame = decode_frame(encode_frame(Facts(1, 2, [("config", None, "k", pack_value(value))])))
    assert isinstance(frame, Facts)
    assert repr(encode_cell(unpack_value(frame.facts[0][3]))) == repr(encode_cell(value))


def test_frames_come_back() -> None:
    for frame in (
        Log(1, 2, 3, 4, {"a": 1.5}, [RowMark(3, 4, 5, 6.5)]),
        Points(1, 2, "console", {"out": "x"}),
        Facts(1, 2, [("attr", None, "name", "x"), ("config", "other", "a.b", 1)]),
        Lost(1, 2, "torn"),
    ):
        assert decode_frame(encode_frame(frame)) == frame


def test_numbers_fill_the_column_that_plots_read() -> None:
    assert encode_cell(True) == (Type.BOOL, 1.0, 1, None)
    assert encode_cell(2**53 + 1) == (Type.INT, float(2**53), 2**53 + 1, None)
    assert encode_cell(-(10**400)) == (Type.INT, -math.inf, None, str(-(10**400)))
    assert encode_cell(0.5) == (Type.FLOAT, 0.5, None, None)
    assert encode_cell("0.5") == (Type.STRING, None, None, "0.5")


def test_retracted_and_ready_json() -> None:
    assert decode_cell(*encode_cell(DELETED)) is DELETED
    assert decode_cell(*encode_cell(JsonText('{"a": [1]}'))) == {"a": [1]}
    assert decode_cell(*encode_cell((1, "x"))) == [1, "x"]
    assert unpack_value(pack_value(DELETED)) is DELETED
    assert unpack_value(pack_value(JsonText("[1]"))) == JsonText("[1]")


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, [object()]])
def test_a_value_without_a_stored_form_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        encode_cell(value)


def test_a_type_of_a_newer_version_is_named() -> None:
    with pytest.raises(ValueError, match="Unknown value type 99"):
        decode_cell(99, None, None, None)


SEGMENTS = st.lists(st.text(alphabet="ab.\\ é") | TEXT, min_size=1, max_size=5)


@given(segments=SEGMENTS)
@example(segments=[""])
@example(segments=["a.b", "\\", ".", "\\.", ""])
def test_a_path_comes_back(segments: list[str]) -> None:
    assert split_path(join_path(segments)) == tuple(segments)


@given(path=st.text(alphabet="a.\\b"))
def test_any_text_is_a_path(path: str) -> None:
    assert split_path(join_path(split_path(path))) == split_path(path)


def test_paths_as_people_read_them() -> None:
    assert join_path(["a.b", "c"]) == "a\\.b.c"
    assert path_text("a\\.b.c") == "a.b.c"
    assert path_text("a.b") == "a.b"
    assert split_path("a\\x") == ("a\\x",)


LEAVES = st.one_of(SCALARS, st.just({}), st.lists(SCALARS, max_size=2), st.just({"_type": "image"}))
TREES = st.dictionaries(
    TEXT.filter(lambda key: key != "_type"),
    st.recursive(
        LEAVES,
        lambda inner: st.dictionaries(TEXT.filter(lambda key: key != "_type"), inner, min_size=1, max_size=3),
        max_leaves=10,
    ),
    max_size=4,
)


@given(tree=TREES)
def test_a_tree_comes_back_from_its_leaves(tree: dict[str, Any]) -> None:
    leaves = flatten(tree)
    assert len({path for path, _ in leaves}) == len(leaves)
    assert same(unflatten(leaves), tree)


def test_a_leaf_gives_way_to_a_longer_path() -> None:
    assert unflatten([("a", 1), ("a.b", 2)]) == {"a": {"b": 2}}
    assert unflatten([("a", {"_type": "x"}), ("a.b", 2)]) == {"a": {"b": 2}}


def test_every_kind_has_a_family() -> None:
    assert {kind: family_of(kind) for kind in sorted(POINT_KINDS)} == {
        "console": "c",
        "history": "h",
        "row": "h",
        "system": "s",
    }
    assert family_of("config") == family_of("a kind of tomorrow") == "f"
