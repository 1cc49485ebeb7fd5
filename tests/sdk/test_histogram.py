"""`tracker.Histogram` (HG-1, HG-2) and what media become where values are logged (MEDIA-1, MEDIA-2, MEDIA-5)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracker
from tracker.sdk.media import MediaFile, MediaPlace
from tracker.sdk.values import config_value, history_value
from tracker.storage.events import KIND_FILE, join_path

Start = Callable[..., Any]


class Picture(MediaFile):
    log_type: ClassVar[str] = "picture-file"
    group_type: ClassVar[str] = "pictures"
    folder: ClassVar[str] = "media/pictures"


class Sound(MediaFile):
    log_type: ClassVar[str] = "sound-file"
    folder: ClassVar[str] = "media/sounds"


def test_counts_lie_between_the_least_and_the_greatest_value() -> None:
    """HG-1, its observed example."""
    assert tracker.Histogram([1, 2, 3], num_bins=2).to_json() == {
        "_type": "histogram",
        "values": [1, 2],
        "bins": [1.0, 2.0, 3.0],
    }


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=50),
    bins=st.integers(1, 512),
    shape=st.sampled_from(["list", "tuple", "array", "column"]),
)
def test_every_value_is_counted_once(values: list[float], bins: int, shape: str) -> None:
    """HG-1. The oracle counts by comparing with the edges."""
    given_as: Any = {
        "list": values,
        "tuple": tuple(values),
        "array": np.array(values),
        "column": np.array(values).reshape(-1, 1),
    }[shape]
    made = tracker.Histogram(given_as, num_bins=bins)
    assert len(made.histogram) == bins == len(made.bins) - 1
    assert sum(made.histogram) == len(values)
    for at, count in enumerate(made.histogram):
        low, high = made.bins[at], made.bins[at + 1]
        inside = [v for v in values if low <= v < high or (at == bins - 1 and v == high)]
        assert abs(count - len(inside)) <= sum(math.isclose(v, e, rel_tol=1e-9) for v in values for e in (low, high))


def test_values_that_are_all_the_same_lie_half_below_to_half_above() -> None:
    """HG-1."""
    made = tracker.Histogram([2.0, 2.0], num_bins=4)
    assert (made.bins[0], made.bins[-1], sum(made.histogram)) == (1.5, 2.5, 2)


def test_differs_a_histogram_counts_the_finite_values_of_its_sequence() -> None:
    """HG-1. The reference lets numpy's ValueError end the training."""
    assert tracker.Histogram([1.0, math.nan, 3.0, math.inf], num_bins=2).histogram == [1, 1]
    assert sum(tracker.Histogram([math.nan]).histogram) == 0


def test_counts_and_edges_are_taken_as_they_are() -> None:
    """HG-2."""
    made = tracker.Histogram(np_histogram=np.histogram([1, 2, 2, 5], bins=3))
    assert made.histogram == [3, 0, 1]
    assert made.bins == pytest.approx([1.0, 7 / 3, 11 / 3, 5.0])
    assert made == tracker.Histogram.from_json(made.to_json())


@pytest.mark.parametrize(
    "arguments",
    [
        {"np_histogram": ([1, 2], [0, 1])},
        {"np_histogram": ([1, 2],)},
        {"sequence": [1.0], "num_bins": 600},
        {"sequence": [1.0], "num_bins": 0},
        {"np_histogram": (list(range(600)), list(range(601)))},
        {},
    ],
    ids=repr,
)
def test_what_does_not_belong_together_is_refused(arguments: dict[str, Any]) -> None:
    """HG-2."""
    with pytest.raises(ValueError, match=r"\w"):
        tracker.Histogram(**arguments)


def test_words_are_no_numbers() -> None:
    """HG-1."""
    with pytest.raises(TypeError, match="numbers"):
        tracker.Histogram(["a", "b"])


def test_a_histogram_is_logged_as_json_and_stands_in_the_summary(start: Start) -> None:
    """HG-1, SUM-1."""
    run, writer = start()
    run.log({"h": tracker.Histogram([1, 2, 3], num_bins=2), "deep": {"h": tracker.Histogram([5, 6], num_bins=1)}})
    run.summary["mine"] = tracker.Histogram([1, 1, 2], num_bins=1)
    stored = {"_type": "histogram", "values": [1, 2], "bins": [1.0, 2.0, 3.0]}
    ((_, row),) = writer.rows()
    assert row == {"h": stored, "deep.h": {"_type": "histogram", "values": [2], "bins": [5.0, 6.0]}}
    assert run.summary["h"] == stored
    assert writer.stored("summary")["mine"]["values"] == [3]


def test_media_are_no_config() -> None:
    """CFG-7."""
    with pytest.raises(ValueError, match="Histogram"):
        config_value(tracker.Histogram([1, 2]), "h")


def test_a_media_file_is_named_by_key_step_and_content_and_is_a_file_of_the_run(start: Start) -> None:
    """MEDIA-1, MEDIA-2."""
    run, writer = start()
    run.log({"a": 1})
    run.log({"im/../x": Picture(b"bytes", ".png", width=3, caption=None)})
    digest = hashlib.sha256(b"bytes").hexdigest()
    path = f"media/pictures/im/__/x_1_{digest[:20]}.png"
    assert writer.rows()[1][1] == {
        "im/\\.\\./x": {"_type": "picture-file", "sha256": digest, "size": 5, "path": path, "width": 3}
    }
    (fact,) = [fact for fact in writer.facts() if fact.kind == KIND_FILE]
    assert (fact.path, fact.value["sha256"], fact.value["size"]) == (join_path([path]), digest, 5)  # type: ignore[index,call-overload]


def test_a_media_file_of_the_summary_says_so_in_its_name(start: Start, tmp_path: Path) -> None:
    """MEDIA-1."""
    run, _ = start()
    (tmp_path / "a.png").write_bytes(b"from a file")
    run.summary["pic"] = Picture(tmp_path / "a.png", ".png")
    assert run.summary["pic"]["path"].startswith("media/pictures/pic_summary_")


def test_a_list_of_one_kind_is_one_entry_and_a_mixed_one_is_refused(start: Start) -> None:
    """MEDIA-5, VAL-5."""
    run, writer = start()
    run.log({"p": [Picture(b"1", ".png"), Picture(b"2", ".png")]})
    stored = writer.rows()[0][1]["p"]
    assert (stored["_type"], stored["count"], len(stored["filenames"])) == ("pictures", 2, 2)
    for mixed in ([Picture(b"1", ".png"), Sound(b"1", ".wav")], [Picture(b"1", ".png"), 5], [Sound(b"1", ".wav")]):
        with pytest.raises(TypeError, match="'p'"):
            run.log({"p": mixed})
    assert run.step == 1


def test_a_path_of_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """MEDIA-8."""
    with pytest.raises(FileNotFoundError, match="missing"):
        Picture(tmp_path / "missing.png", ".png")


def test_media_without_a_place_for_their_bytes_are_refused() -> None:
    """MEDIA-2."""
    with pytest.raises(TypeError, match="logged to a run"):
        history_value({"a": Picture(b"", ".png")}, "k")


def test_a_nested_media_file_is_named_by_its_dotted_path() -> None:
    """VAL-6."""
    names: list[str] = []

    def keep(source: bytes | Path, name_of: Any) -> dict[str, Any]:
        names.append(name_of("0" * 64))
        return {"sha256": "0" * 64, "size": 0, "path": names[-1]}

    history_value({"a": {"b": Picture(b"", ".png")}}, "k", place=MediaPlace(keep, 7))
    assert names == [f"media/pictures/k.a.b_7_{'0' * 20}.png"]


def test_a_disabled_run_takes_media(start: Start) -> None:
    """MODE-3."""
    run = tracker.init(mode="disabled")
    run.log({"p": Picture(b"1", ".png")})
    run.summary["p"] = Picture(b"1", ".png")
    assert run.summary["p"]["_type"] == "picture-file"


def test_a_graph_holds_nodes_and_edges(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """GRAPH-1."""
    graph = tracker.Graph()
    first = graph.add_node(name="in", class_name="Input", output_shape=[None, 4])
    second = graph.add_node(id="out", name="out", num_parameters=5, node=object())
    edge = graph.add_edge(first, second)
    assert (edge.from_node, edge.to_node, graph["out"], graph[0]) == (first, second, second, first)
    assert graph.to_json() == {
        "format": "keras",
        "nodes": [
            {"id": 0, "name": "in", "class_name": "Input", "output_shape": [None, 4]},
            {"id": "out", "name": "out", "num_parameters": 5},
        ],
        "edges": [[0, "out"]],
    }
    with pytest.raises(ValueError, match="'out'"):
        graph.add_node(id="out")
    graph.pprint()
    printed = capsys.readouterr()
    assert "Input" in printed.err
    assert printed.out == ""
    run, writer = start()
    run.log({"g": graph})
    stored = writer.rows()[0][1]["g"]
    assert stored["_type"] == "graph-file"
    assert stored["path"].startswith("media/graph/g_0_")
    assert stored["path"].endswith(".graph.json")


class KerasLayer:
    """As much of Keras 3's layer as a graph asks for."""

    def __init__(self, name: str, feeders: list[KerasLayer], shape: tuple[int | None, ...]) -> None:
        self.name = name
        self.output = type("KerasTensor", (), {"shape": shape})()
        parents = [type("Call", (), {"operation": feeder})() for feeder in feeders]
        self._inbound_nodes = [type("Call", (), {"parent_nodes": parents})()]

    def count_params(self) -> int:
        return 12


def test_a_keras_model_becomes_a_graph() -> None:
    """GRAPH-1."""
    a = KerasLayer("a", [], (None, 2))
    b, c = KerasLayer("b", [a], (None, 3)), KerasLayer("c", [a], (None, 3))
    d = KerasLayer("d", [b, c], (None, 6))
    model = type("Model", (), {"layers": [a, b, c, d]})()
    graph = tracker.Graph.from_keras(model)
    assert [edge.to_json() for edge in graph.edges] == [["a", "b"], ["a", "c"], ["b", "d"], ["c", "d"]]
    assert graph["d"].to_json() == {
        "id": "d", "name": "d", "class_name": "KerasLayer", "output_shape": [None, 6], "num_parameters": 12,
    }  # fmt: skip
