"""`watch` and `unwatch` of torch modules (WATCH-1..5), also where modules are copied, compiled or used twice."""

from __future__ import annotations

import copy
import gc
import io
import json
import os
import pickle
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.errors import UsageError
from tracker.sdk import tensor_histogram
from tracker.sdk.tensor_histogram import BINS, count, histograms_of

torch = pytest.importorskip("torch")
nn = torch.nn

Start = Callable[..., Any]


def small() -> Any:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def train(model: Any, steps: int, run: Any = None, **inputs: Any) -> None:
    for step in range(steps):
        model(torch.randn(5, 4)).pow(2).mean().backward()
        if run is not None:
            run.log({"loss": step})


def keys(row: dict[str, Any], prefix: str = "") -> set[str]:
    return {key.replace("\\", "") for key in row if key.replace("\\", "").startswith(prefix)} - {"loss"}


NAMES = {"0.weight", "0.bias", "2.weight", "2.bias"}


# histograms of tensors


HERE, THERE = tensor_histogram._count_here, tensor_histogram._count_there


@pytest.fixture(params=["here", "there"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Counted as in the processor's memory, or by the steps of other devices."""
    if request.param == "there":
        monkeypatch.setattr(tensor_histogram, "_count_here", THERE)
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32], ids=str)
def test_a_tensor_is_counted_as_numpy_counts_it(dtype: Any, way: str) -> None:
    """WATCH-2: 64 bins. float32 may round a value into the next bin."""
    tensor = (torch.randn(200_000, generator=torch.Generator().manual_seed(1)) * 100).to(dtype)
    (stored,) = histograms_of([count(tensor.reshape(50, 2, 2000).transpose(0, 1))])
    expected, edges = np.histogram(tensor.to(torch.float64).numpy(), bins=BINS)
    assert stored is not None
    assert stored["bins"] == pytest.approx(edges.tolist(), rel=1e-6, abs=1e-9)
    assert sum(stored["values"]) == 200_000
    assert np.abs(np.array(stored["values"]) - expected).sum() <= 20


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_how_a_tensor_is_cut_changes_nothing(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCH-2."""
    tensor = torch.linspace(-3, 5, 100)
    tensor[3], tensor[50], tensor[98] = torch.nan, torch.inf, -torch.inf
    usual = histograms_of([HERE(tensor, 0)])
    monkeypatch.setattr(tensor_histogram, "_PIECE", piece)
    assert histograms_of([THERE(tensor, 0)]) == usual
    assert usual[0] is not None
    assert sum(usual[0]["values"]) == 97


def test_only_finite_elements_count_and_none_is_no_histogram(way: str) -> None:
    """WATCH-2."""
    some = torch.tensor([1.0, torch.nan, 3.0, torch.inf, -torch.inf])
    none = torch.tensor([torch.nan, torch.inf])
    first, second, third = histograms_of([count(some), count(none), count(torch.empty(0))])
    assert first is not None
    assert (first["bins"][0], first["bins"][-1], sum(first["values"])) == (1.0, 3.0, 2)
    assert (second, third) == (None, None)


def test_elements_that_are_all_the_same_make_one_bin(way: str) -> None:
    """WATCH-2."""
    assert histograms_of([count(torch.full((3, 3), 0.5))]) == [
        {"_type": "histogram", "values": [9], "bins": [0.5, 0.5]}
    ]


@pytest.mark.parametrize("values", [[-3.4e38, 3.4e38, 0.0], [1e-45, 0.0, 0.0], [1e38, 1.0000001e38]], ids=repr)
def test_the_ends_of_the_range_of_floats_are_counted(values: list[float], way: str) -> None:
    """WATCH-2."""
    (stored,) = histograms_of([count(torch.tensor(values))])
    assert stored is not None
    assert sum(stored["values"]) == len(values)
    assert np.isfinite(stored["bins"]).all()
    assert (stored["bins"][0], stored["bins"][-1]) == (np.float32(min(values)), np.float32(max(values)))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("layout", ["coo", "csr"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_sparse_tensor_counts_with_its_zeros(layout: str, sign: float, way: str) -> None:
    """WATCH-2: as the dense one."""
    dense = torch.zeros(10, 10)
    dense[2, 3], dense[4, 4] = 5.0 * sign, 2.0 * sign
    sparse = dense.to_sparse() if layout == "coo" else dense.to_sparse_csr()
    assert histograms_of([count(sparse)]) == histograms_of([count(dense)])


def test_complex_elements_count_by_their_size() -> None:
    """WATCH-2."""
    (stored,) = histograms_of([count(torch.tensor([3 + 4j, 0j]))])
    assert stored is not None
    assert stored["bins"][-1] == 5.0


# what watch refuses


@pytest.mark.parametrize(
    "arguments",
    [
        {"models": 5},
        {"models": [torch.nn.Linear(1, 1), "x"]},
        {"models": torch.nn.Linear(1, 1), "log": "everything"},
        {"models": torch.nn.Linear(1, 1), "log_freq": 0},
        {"models": torch.nn.Linear(1, 1), "log_freq": 1.5},
        {"models": torch.nn.Linear(1, 1), "criterion": 3},
    ],
    ids=lambda arguments: ",".join(arguments),
)
def test_watch_refuses_what_it_can_not_watch(start: Start, arguments: dict[str, Any]) -> None:
    """WATCH-1."""
    run, _ = start()
    with pytest.raises(ValueError, match="watch"):
        run.watch(**arguments)


def test_watch_needs_a_run(start: Start) -> None:
    """WATCH-1, MOD-4, RE-3."""
    with pytest.raises(tracker.Error, match="watch"):
        tracker.watch(small())
    run, _ = start()
    run.finish()
    with pytest.raises(UsageError, match="finished"):
        run.watch(small())


def test_without_torch_the_error_says_what_to_install(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCH-1."""
    run, _ = start()
    monkeypatch.setitem(sys.modules, "torch.nn", None)
    with pytest.raises(UsageError, match=r"tracker\[torch\]"):
        run.watch(small)


def test_a_disabled_run_watches_nothing() -> None:
    """MODE-4."""
    tracker.init(mode="disabled")
    model = small()
    assert tracker.watch(model, log="all", log_graph=True) is None
    assert tracker.unwatch(model) is None
    assert hooks_on(model) == 0


# what is logged


def test_gradients_and_parameters_join_the_row_of_the_next_commit(start: Start) -> None:
    """WATCH-2, WATCH-3: every log_freq-th pass."""
    run, writer = start()
    model = small()
    assert tracker.watch(model, log="all", log_freq=2) is None
    train(model, 4, run)
    rows = [row for _, row in writer.rows()]
    every = {f"{what}/{name}" for what in ("gradients", "parameters") for name in NAMES}
    assert [keys(row) for row in rows] == [set(), every, set(), every]
    assert run.step == 4
    stored = next(value for key, value in rows[1].items() if key.endswith("weight"))
    assert stored["_type"] == "histogram"
    assert len(stored["values"]) == BINS


def test_the_values_are_those_of_the_pass(start: Start) -> None:
    """WATCH-3: the gradient of this backward, before it is added to what is there; the parameters of this forward."""
    run, writer = start()
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(3.0)
    run.watch(model, log="all", log_freq=1)
    for _ in range(2):
        model(torch.tensor([[2.0]])).sum().backward()
    run.log({})
    ((_, row),) = writer.rows()
    assert row["gradients/weight"] == {"_type": "histogram", "values": [1], "bins": [2.0, 2.0]}
    assert row["parameters/weight"] == {"_type": "histogram", "values": [1], "bins": [3.0, 3.0]}


@pytest.mark.parametrize(
    ("log", "kinds"), [("gradients", {"gradients"}), ("parameters", {"parameters"}), (None, set())]
)
def test_only_what_was_asked_for_is_logged(start: Start, log: Any, kinds: set[str]) -> None:
    """WATCH-1."""
    run, writer = start()
    model = small()
    run.watch(model, log=log, log_freq=1)
    train(model, 1, run)
    assert {key.split("/")[0] for key in keys(writer.rows()[0][1])} == kinds


def test_further_models_have_their_index_before_the_name(start: Start) -> None:
    """WATCH-1, WATCH-2."""
    run, writer = start()
    first, second, third = nn.Linear(4, 1), nn.Linear(4, 1), nn.Linear(4, 1)
    run.watch([first, second], log_freq=1)
    run.watch((third,), log_freq=1, idx=7)
    for model in (first, second, third):
        train(model, 1)
    run.log({})
    assert keys(writer.rows()[0][1]) == {
        f"gradients/{prefix}{name}" for prefix in ("", "graph_1", "graph_7") for name in ("weight", "bias")
    }


def test_what_has_no_gradient_is_left_out(start: Start) -> None:
    """WATCH-2: frozen, or not used."""
    run, writer = start()
    model = nn.ModuleDict({"used": nn.Linear(4, 1), "unused": nn.Linear(4, 1), "frozen": nn.Linear(4, 4)})
    model["frozen"].requires_grad_(False)
    run.watch(model, log_freq=1)
    model["used"](model["frozen"](torch.randn(2, 4))).sum().backward()
    run.log({})
    assert keys(writer.rows()[0][1]) == {"gradients/used.weight", "gradients/used.bias"}


def test_gradients_that_are_not_finite_are_left_out(start: Start) -> None:
    """WATCH-2."""
    run, writer = start()
    model = nn.Linear(1, 1)
    run.watch(model, log_freq=1)
    (model(torch.tensor([[torch.inf]])).sum()).backward()
    run.log({})
    assert keys(writer.rows()[0][1]) == {"gradients/bias"}


def test_sparse_gradients_and_half_precision_are_logged(start: Start) -> None:
    """WATCH-2."""
    run, writer = start()
    table, half = nn.Embedding(50, 3, sparse=True), nn.Linear(4, 2).to(torch.bfloat16)
    run.watch([table, half], log="all", log_freq=1)
    table(torch.tensor([1, 2])).sum().backward()
    half(torch.randn(2, 4, dtype=torch.bfloat16)).sum().backward()
    run.log({})
    row = writer.rows()[0][1]
    assert sum(row["gradients/weight"]["values"]) == 150
    assert {"gradients/graph_1weight", "parameters/graph_1bias"} <= keys(row)


def test_a_module_that_is_used_twice_gives_one_gradient(start: Start) -> None:
    """WATCH-3."""
    run, writer = start()

    class Twice(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(1, 1, bias=False)

        def forward(self, x: Any) -> Any:
            return self.inner(x) + self.inner(x)

    model = Twice()
    run.watch(model, log_freq=1)
    model(torch.tensor([[1.0]])).sum().backward()
    run.log({})
    assert writer.rows()[0][1]["gradients/inner\\.weight"]["bins"] == [2.0, 2.0]


def test_checkpointed_parts_are_watched(start: Start) -> None:
    """WATCH-3: a backward within the backward."""
    run, writer = start()
    model = small()
    run.watch(model, log_freq=1)
    for reentrant in (True, False):
        x = torch.randn(5, 4, requires_grad=True)
        torch.utils.checkpoint.checkpoint(model, x, use_reentrant=reentrant).sum().backward()
        run.log({})
    assert [keys(row) for _, row in writer.rows()] == [{f"gradients/{name}" for name in NAMES}] * 2


def test_trouble_with_a_tensor_is_said_once_and_the_training_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """WATCH-3."""

    def breaks(tensor: Any) -> Any:
        raise RuntimeError("no kernel for this")

    run, writer = start()
    monkeypatch.setattr("tracker.sdk.watch_hooks.count", breaks)
    model = small()
    run.watch(model, log="all", log_freq=1)
    capsys.readouterr()
    train(model, 3, run)
    assert capsys.readouterr().err.count("no kernel for this") == 1
    assert len(writer.rows()) == 3


def test_a_backward_that_fails_leaves_the_next_ones_as_they_are(start: Start) -> None:
    """WATCH-3."""

    class Fails(torch.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            raise ValueError("in the backward")

    run, writer = start()
    model = small()
    run.watch(model, log_freq=1)
    with pytest.raises(ValueError, match="in the backward"):
        model[2](Fails.apply(model[0](torch.randn(2, 4)))).sum().backward()
    train(model, 1, run)
    assert keys(writer.rows()[0][1]) == {f"gradients/{name}" for name in NAMES}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own look
def test_a_compiled_model_is_watched(start: Start) -> None:
    """WATCH-3. Traced by dynamo and autograd; the code is not made fast, for that takes a compiler."""
    run, writer = start()
    inner, outer = small(), small()
    run.watch(inner, log="all", log_freq=2)
    compiled = torch.compile(inner, backend="aot_eager")
    wrapped = torch.compile(outer, backend="aot_eager")
    run.watch(wrapped, log="all", log_freq=2)
    for step in range(4):
        (compiled(torch.randn(5, 4)).sum() + wrapped(torch.randn(5, 4)).sum()).backward()
        run.log({"loss": step})
    whats = {f"{what}/{name}" for what in ("gradients", "parameters") for name in NAMES}
    whats |= {f"{what}/graph_1_orig_mod.{name}" for what in ("gradients", "parameters") for name in NAMES}
    assert [keys(row) for _, row in writer.rows()] == [set(), whats, set(), whats]


# hooks


def hooks_on(model: Any) -> int:
    on_modules = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())
    return on_modules + sum(len(parameter._backward_hooks or ()) for parameter in model.parameters())


def test_unwatch_leaves_the_model_as_it_was(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """WATCH-5."""
    run, writer = start()
    first, second = small(), small()
    run.watch([first, second], log="all", log_freq=1, log_graph=True)
    assert hooks_on(first) > 0
    assert run.unwatch(first) is None
    assert hooks_on(first) == 0 < hooks_on(second)
    capsys.readouterr()
    tracker.unwatch(first)
    assert "not watched" in capsys.readouterr().err
    tracker.unwatch()
    assert hooks_on(second) == 0
    train(first, 1, run)
    assert keys(writer.rows()[0][1]) == set()


def test_unwatch_before_any_watch_only_warns(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """WATCH-5."""
    run, _ = start()
    capsys.readouterr()
    run.unwatch()
    assert capsys.readouterr().err == ""
    run.unwatch(small())
    assert "watches no model" in capsys.readouterr().err


def test_the_end_of_the_run_takes_the_hooks_off(start: Start) -> None:
    """WATCH-5."""
    run, _ = start()
    model = small()
    run.watch(model, log="all", log_freq=1, log_graph=True)
    run.finish()
    assert hooks_on(model) == 0
    train(model, 1)


def test_differs_watching_again_replaces_the_hooks_of_the_same_kind(start: Start) -> None:
    """WATCH-1."""
    run, writer = start()
    model = small()
    run.watch(model, log_freq=1)
    run.watch(model, log="parameters", log_freq=1)
    run.watch(model, log_freq=1)
    assert hooks_on(model) == 5
    train(model, 1, run)
    assert len(keys(writer.rows()[0][1])) == 8


def test_a_watched_model_dies_when_it_is_let_go(start: Start) -> None:
    """WATCH-5: no cycle holds it either."""
    run, _ = start()
    model = small()
    run.watch(model, log="all", log_freq=1, log_graph=True)
    train(model, 1, run)
    seen = weakref.ref(model)
    gc.collect()
    gc.disable()
    try:
        del model
        assert seen() is None
    finally:
        gc.enable()
    run.unwatch()


def test_copies_of_a_watched_model_do_not_log(start: Start) -> None:
    """WATCH-3: by copying, by pickling, and as the replica that DataParallel makes of an unwatched device."""
    run, writer = start()
    model = small()
    run.watch(model, log="all", log_freq=1)
    copied = copy.deepcopy(model)
    file = io.BytesIO()
    torch.save(model, file)
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    again = pickle.loads(pickle.dumps(copied))
    assert b"tracker" not in file.getvalue()
    for other in (copied, loaded, again):
        train(other, 1)
    run.log({})
    assert keys(writer.rows()[0][1]) == set()


def test_the_replica_on_the_models_device_counts_as_the_model(start: Start) -> None:
    """WATCH-3: what DataParallel calls when the model within it is watched."""
    run, writer = start()
    model = nn.Linear(4, 2)
    run.watch(model, log="parameters", log_freq=2)
    for _ in range(2):
        replica = model._replicate_for_data_parallel()
        replica._former_parameters = dict(model.named_parameters())
        for name, parameter in model.named_parameters():
            setattr(replica, name, parameter.clone())
        replica(torch.randn(1, 4))
        run.log({})
    assert [keys(row) for _, row in writer.rows()] == [set(), {"parameters/weight", "parameters/bias"}]


def test_data_parallel_is_watched_as_one_module(start: Start) -> None:
    """WATCH-3. Without devices it calls the model itself."""
    run, writer = start()
    model = nn.DataParallel(small())
    run.watch(model, log="all", log_freq=1)
    train(model, 1, run)
    assert f"gradients/module.{next(iter(NAMES))}" in keys(writer.rows()[0][1])
    assert len(keys(writer.rows()[0][1])) == 8


def test_a_lazy_module_is_logged_once_it_knows_its_shape(start: Start) -> None:
    """WATCH-2."""
    run, writer = start()
    model = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(2))
    run.watch(model, log="all", log_freq=1)
    train(model, 2, run)
    assert [len(keys(row)) for _, row in writer.rows()] == [8, 8]
    run.unwatch()
    assert hooks_on(model) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_no_hooks(start: Start) -> None:
    """WATCH-5, RE-5."""
    run, _ = start()
    model = small()
    run.watch(model, log="all", log_freq=1)
    run.recorder.services.after_fork()
    assert hooks_on(model) == 0


# graph


def graph_of(run: Any, name: str) -> dict[str, Any]:
    stored = run.summary[name]
    assert stored["_type"] == "graph-file"
    staged = Path(run.recorder.writer.spool_dir) / "blobs" / stored["sha256"]
    return json.loads(staged.read_text())  # type: ignore[no-any-return]


def test_the_graph_is_in_the_summary_after_the_first_forward(start: Start) -> None:
    """WATCH-4."""
    run, _ = start()
    model = small()
    run.watch(model, log=None, log_graph=True)
    assert "graph_0" not in run.summary
    train(model, 1)
    graph = graph_of(run, "graph_0")
    assert graph["format"] == "torch"
    assert [node["class_name"] for node in graph["nodes"]] == ["Linear", "ReLU", "Linear"]
    assert graph["edges"] == [["0", "1"], ["1", "2"]]
    assert graph["nodes"][0]["parameters"] == [["weight", [8, 4]], ["bias", [8]]]
    assert (graph["nodes"][0]["num_parameters"], graph["nodes"][0]["output_shape"]) == (40, [5, 8])
    assert [node.get("is_output") for node in graph["nodes"]] == [None, None, True]
    assert hooks_on(model) == 0


def test_edges_follow_the_tensors_also_through_functions(start: Start) -> None:
    """WATCH-4: a branch, a sum, a function that is no module, an output in a dict."""

    class Residual(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.inplace = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> dict[str, Any]:
            a = self.a(x)
            b = self.inplace(self.b(torch.tanh(a)))
            return {"out": self.c(torch.relu(a + b)), "hidden": b}

    run, _ = start()
    model = Residual()
    run.watch(model, log=None, log_graph=True)
    model(torch.randn(2, 4))
    graph = graph_of(run, "graph_0")
    assert sorted(graph["edges"]) == [["a", "b"], ["a", "c"], ["b", "inplace"], ["inplace", "c"]]
    assert {node["id"] for node in graph["nodes"] if node.get("is_output")} == {"c", "inplace"}


def test_a_graph_without_gradients_has_the_edges_between_neighbours(start: Start) -> None:
    """WATCH-4."""
    run, _ = start()
    model = small()
    run.watch(model, log=None, log_graph=True)
    with torch.no_grad():
        model(torch.randn(2, 4))
    assert graph_of(run, "graph_0")["edges"] == [["0", "1"], ["1", "2"]]


def test_a_model_whose_graph_is_watched_is_not_watched_again(start: Start) -> None:
    """WATCH-4."""
    run, _ = start()
    model = small()
    run.watch(model, log_graph=True)
    with pytest.raises(ValueError, match="watched already"):
        run.watch(model)
    train(model, 1)
    with pytest.raises(ValueError, match="watched already"):
        run.watch(model, log_graph=True)
    run.unwatch(model)
    run.watch(model)
