"""TensorBoard's writers in the run (TB-1, TB-2, HIST-21, OI-6), live and imported."""

from __future__ import annotations

import importlib
import json
import socket
import struct
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.errors import UsageError
from tracker.sdk import import_hooks
from tracker.sdk.tb_files import EventFiles, Pauses, is_own_event_file
from tracker.sdk.tb_patch import noticed
from tracker.sdk.tb_rows import Namespaces, StepRows
from tracker.sdk.tb_values import event_values, summary_values

pytest.importorskip("tensorboard")
with pytest.MonkeyPatch.context() as _patch:  # what these libraries warn of while they are imported is theirs
    import warnings

    warnings.simplefilter("ignore")
    tensorboardX = pytest.importorskip("tensorboardX")
    writers_of_torch = pytest.importorskip("torch.utils.tensorboard")

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

SummaryWriter = writers_of_torch.SummaryWriter

Start = Callable[..., Any]


@pytest.fixture(autouse=True)
def _unpatched() -> Any:
    yield
    noticed.unpatch()


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "_timestamp"}


def test_scalars_are_rows_by_global_step(start: Start, tmp_path: Path) -> None:
    """TB-2. The writer is not closed: what it holds back is flushed at the end of the run."""
    run, writer = start(sync_tensorboard=True)
    board = SummaryWriter(str(tmp_path / "logs"))
    for step in range(3):
        board.add_scalar("loss", 2.0 * step, step * 10)
        board.add_scalar("acc", 0.5, step * 10)
    run.finish()
    board.close()
    assert [plain(row) for _, row in writer.rows()] == [
        {"loss": 2.0 * step, "acc": 0.5, "global_step": step * 10} for step in range(3)
    ]
    assert [step for step, _ in writer.rows()] == [0, 1, 2]
    assert abs(writer.rows()[0][1]["_timestamp"] - time.time()) < 60
    assert any("tensorboard/events.out.tfevents" in fact.path.replace("\\", "") for fact in writer.facts())


def test_a_closed_writer_keeps_no_other_from_being_flushed(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TB-2."""
    run, writer = start(sync_tensorboard=True)
    boards = [SummaryWriter(str(tmp_path / "logs" / str(number))) for number in range(4)]
    for board in boards:
        board.add_scalar("loss", 1.0, 1)
    boards[0].close()
    boards[2].close()
    run.finish()
    boards[1].close()
    boards[3].close()
    assert sorted(key for _, row in writer.rows() for key in row if key.endswith("loss")) == [
        f"{number}/loss" for number in range(4)
    ]
    assert "warning" not in capsys.readouterr().err


def test_rows_arrive_while_the_training_goes_on(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TB-2: a step is a row when the next one begins."""
    monkeypatch.setattr("tracker.sdk.tb_sync._POLL_S", 0.02)
    monkeypatch.setattr("tracker.sdk.tb_rows._PATIENCE_S", 0.05)
    run, writer = start(sync_tensorboard=True)
    board = SummaryWriter(str(tmp_path / "logs"))
    for step in range(3):
        board.add_scalar("loss", 1.0, step)
    board.flush()
    until = time.monotonic() + 20
    while len(writer.rows()) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert [row["global_step"] for _, row in writer.rows()] == [0, 1]
    run.finish()
    board.close()
    assert len(writer.rows()) == 3


@pytest.mark.parametrize("library", ["torch", "tensorboardX", "tensorboard"])
def test_every_writer_is_noticed(start: Start, tmp_path: Path, library: str) -> None:
    """TB-1."""
    run, writer = start(tensorboard=True)
    summary = Summary(value=[Summary.Value(tag="loss", simple_value=3.0)])
    if library == "tensorboard":
        raw = EventFileWriter(str(tmp_path / "logs"))
        raw.add_event(Event(step=4, summary=summary, wall_time=5.0))
        raw.close()
    else:
        board = {"torch": SummaryWriter, "tensorboardX": tensorboardX.SummaryWriter}[library](str(tmp_path / "logs"))
        board.add_scalar("loss", 3.0, 4)
        board.close()
    run.finish()
    assert [plain(row) for _, row in writer.rows()] == [{"loss": 3.0, "global_step": 4}]


def test_tensorflows_function_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TB-1: TF 2 makes its writers through one function, which takes the directory as a tensor. TF itself is not
    installed here; the module has the shape of `tensorflow.python.ops.gen_summary_ops` of 2.x."""
    module: Any = types.ModuleType("tensorflow.python.ops.gen_summary_ops")
    module.create_summary_file_writer = lambda writer, logdir, max_queue, flush_millis, filename_suffix: "made"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    original = module.create_summary_file_writer
    noticed.patch()
    tensor = type("Tensor", (), {"numpy": lambda self: str(tmp_path).encode()})()
    named = {"logdir": tensor, "max_queue": 1, "flush_millis": 1, "filename_suffix": ""}
    assert module.create_summary_file_writer("w", **named) == "made"
    assert module.create_summary_file_writer("w", object(), 1, 1, "") == "made"
    assert str(tmp_path) in [directory.path for directory in noticed.since(0)]
    noticed.unpatch()
    assert module.create_summary_file_writer is original


def test_patching_twice_is_refused() -> None:
    """TB-1."""
    tracker.tensorboard.patch()
    assert tracker.patched["tensorboard"]
    with pytest.raises(ValueError, match="unpatch"):
        tracker.tensorboard.patch()
    tracker.tensorboard.unpatch()
    assert not tracker.patched["tensorboard"]
    tracker.tensorboard.patch()


@pytest.mark.parametrize("when", ["before the run", "during the run"])
def test_the_user_may_patch_and_name_the_root(start: Start, tmp_path: Path, when: str) -> None:
    """OI-6, TB-1."""
    if when == "before the run":
        tracker.tensorboard.patch(root_logdir=str(tmp_path))
    run, writer = start()
    if when == "during the run":
        tracker.tensorboard.patch(root_logdir=str(tmp_path))
    board = SummaryWriter(str(tmp_path / "logs" / "train"))
    board.add_scalar("loss", 1.0, 1)
    board.close()
    run.finish()
    assert [plain(row) for _, row in writer.rows()] == [{"logs/train/loss": 1.0, "logs/train/global_step": 1}]


def test_the_end_of_the_run_leaves_the_libraries_as_they_were(start: Start, tmp_path: Path) -> None:
    """TB-1."""
    before = EventFileWriter.__init__
    run, writer = start(sync_tensorboard=True)
    assert EventFileWriter.__init__ is not before
    run.finish()
    assert EventFileWriter.__init__ is before
    SummaryWriter(str(tmp_path / "later")).close()
    assert writer.rows() == []


def test_several_directories_are_told_apart(start: Start, tmp_path: Path) -> None:
    """TB-1, TB-2."""
    run, writer = start(sync_tensorboard=True)
    for name in ("train", "validation"):
        board = SummaryWriter(str(tmp_path / "logs" / name))
        board.add_scalar("loss", 1.0, 7)
        board.close()
    run.finish()
    assert [plain(row) for _, row in writer.rows()] == [
        {f"{name}/loss": 1.0, f"{name}/global_step": 7} for name in ("train", "validation")
    ]


def test_event_files_of_earlier_trainings_are_left_alone(start: Start, tmp_path: Path) -> None:
    """TB-1."""
    old = tmp_path / f"events.out.tfevents.1500000000.{socket.gethostname()}.1.0"
    board = SummaryWriter(str(tmp_path / "made"))
    board.add_scalar("old", 1.0, 1)
    board.close()
    next((tmp_path / "made").iterdir()).rename(old)
    run, writer = start(sync_tensorboard=True)
    SummaryWriter(str(tmp_path)).close()
    run.finish()
    assert writer.rows() == []


def test_steps_given_by_hand_are_ignored_meanwhile(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """HIST-21."""
    run, writer = start(sync_tensorboard=True)
    run.log({"a": 1}, step=50)
    run.log({"a": 2}, step=60)
    assert [step for step, _ in writer.rows()] == [0, 1]
    assert capsys.readouterr().err.count("global_step") == 1
    run.finish()
    run, writer = start()
    run.log({"a": 1}, step=50)
    assert run.step == 50


def test_a_row_from_beside_does_not_join_the_pending_one(start: Start) -> None:
    """TB-2, HIST-3."""
    run, writer = start()
    run.log({"a": 1})
    run.log({"mine": 1}, commit=False)
    run.recorder.history.log_apart({"theirs": 1})  # type: ignore[union-attr]
    run.log({"mine": 2})
    run.recorder.history.log_apart({"theirs": 2})  # type: ignore[union-attr]
    assert sorted(writer.rows(), key=repr) == [
        (0, {"a": 1}), (1, {"mine": 2}), (1, {"theirs": 1}), (2, {"theirs": 2}),
    ]  # fmt: skip


def test_hyperparameters_are_config(start: Start, tmp_path: Path) -> None:
    """TB-2; what the script set itself stays."""
    run, _writer = start(sync_tensorboard=True, config={"lr": 1})
    board = SummaryWriter(str(tmp_path / "logs"))
    board.add_hparams({"lr": 0.5, "name": "sgd", "nesterov": True}, {"best": 0.5})
    board.close()
    run.finish()
    assert dict(run.config) == {"lr": 1, "name": "sgd", "nesterov": True}


def test_media_become_media(start: Start, tmp_path: Path) -> None:
    """TB-2: images, histograms, PR curves; text and sound as well."""
    torch = pytest.importorskip("torch")
    run, writer = start(sync_tensorboard=True)
    board = SummaryWriter(str(tmp_path / "logs"))
    board.add_image("picture", np.zeros((3, 4, 5), np.uint8), 1)
    board.add_histogram("spread", np.arange(100.0), 1, bins="auto")
    board.add_pr_curve("curve", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, 0.3]), 1, num_thresholds=5)
    board.add_text("words", "hello", 1)
    board.add_audio("sound", torch.zeros(1, 100), 1)
    board.close()
    run.finish()
    ((_, row),) = writer.rows()
    assert {key: row["picture"][key] for key in ("_type", "format", "width", "height")} == {
        "_type": "image-file", "format": "png", "width": 5, "height": 4,
    }  # fmt: skip
    assert row["picture"]["path"].startswith("media/images/picture_0_")
    assert (row["spread"]["_type"], sum(row["spread"]["values"])) == ("histogram", 100)
    assert row["words/text_summary"] == "hello"
    assert row["sound"]["_type"] == "audio-file"
    table = row["curve_table"]
    assert (table["_type"], table["ncols"], table["nrows"]) == ("table-file", 3, 5)
    content = json.loads((Path(run.recorder.writer.spool_dir) / "blobs" / table["sha256"]).read_text())  # type: ignore[union-attr]
    assert content["columns"] == ["class", "recall", "precision"]
    assert content["data"][0][1:] == [1.0, 0.5]
    chart = writer.stored("config")["_wandb"]["visualize"]["curve"]
    assert chart["panel_config"]["fieldSettings"] == {"x": "recall", "y": "precision", "class": "class"}
    assert "curve_table" in json.dumps(chart["panel_config"]["userQuery"])


def test_old_forms_of_values_are_read() -> None:
    """OI-6: `simple_value` and `histo`, as TF 1 and tensorboardX write them."""
    histo = HistogramProto(min=0, max=2, num=3, sum=3, sum_squares=3, bucket_limit=[1, 2], bucket=[1, 2])
    summary = Summary(value=[Summary.Value(tag="a", simple_value=1.5), Summary.Value(tag="h", histo=histo)])
    values = summary_values(summary.SerializeToString())
    assert values["a"] == 1.5
    assert values["h"].histogram == [1, 2]
    with pytest.raises(ValueError, match="no TensorBoard summary"):
        summary_values(b"\xff\xff\xff")


def test_a_histogram_of_many_bins_is_put_together() -> None:
    """HG-2, TB-2."""
    histo = HistogramProto(bucket_limit=list(range(1, 1301)), bucket=[1.0] * 1300, min=0, max=1300, num=1300)
    made = summary_values(Summary(value=[Summary.Value(tag="h", histo=histo)]))["h"]
    assert len(made.histogram) == 434
    assert (sum(made.histogram), made.bins[0], made.bins[-1]) == (1300, 0.0, 1300.0)


def test_several_images_are_one_entry(start: Start) -> None:
    """IMG-6: TensorFlow's image summaries hold several."""
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    _run, writer = start()
    summary = Summary()
    value = summary.value.add(tag="ims")
    value.metadata.plugin_data.plugin_name = "images"
    value.tensor.dtype = 7
    value.tensor.string_val.extend([b"5", b"4", b"\x89PNG1", b"\x89PNG2"])
    value.tensor.tensor_shape.CopyFrom(TensorShapeProto(dim=[TensorShapeProto.Dim(size=4)]))
    tracker.tensorboard.log(summary, step=3)
    row = writer.rows()[0][1]
    assert row["global_step"] == 3
    assert {key: row["ims"][key] for key in ("_type", "count", "width", "height", "format")} == {
        "_type": "images/separated", "count": 2, "width": 5, "height": 4, "format": "png",
    }  # fmt: skip


def test_a_summary_is_logged_by_hand(start: Start) -> None:
    """OI-6."""
    summary = Summary(value=[Summary.Value(tag="a", simple_value=1.5)])
    with pytest.raises(tracker.Error, match="init"):
        tracker.tensorboard.log(summary)
    rows: list[Any] = []
    tracker.tensorboard.log(summary, history=rows.append, step=2)
    assert plain(rows[0]) == {"a": 1.5, "global_step": 2}
    _run, writer = start()
    tracker.tensorboard.log(summary.SerializeToString(), step=4, namespace="ns")
    assert plain(writer.rows()[0][1]) == {"ns/a": 1.5, "ns/global_step": 4}


def test_a_step_ends_where_the_next_begins_or_a_tag_comes_again() -> None:
    """TB-2."""
    rows: list[dict[str, Any]] = []
    steps = StepRows(rows.append, lambda key, chart: None)
    for name, step, tag in [("", 1, "a"), ("x", 1, "a"), ("", 1, "b"), ("", 2, "a"), ("", 2, "a"), ("", 1, "b")]:
        steps.add(name, step, 1.0, {tag: step})
    steps.add("", 9, 1.0, {})
    steps.end_all()
    assert [plain(row) for row in rows] == [
        {"a": 1, "b": 1, "global_step": 1},
        {"a": 2, "global_step": 2},
        {"a": 2, "global_step": 2},
        {"x/a": 1, "x/global_step": 1},
        {"b": 1, "global_step": 1},
    ]


@pytest.mark.parametrize(
    ("root", "directories", "names"),
    [
        ("", ["/l/train", "/l/val"], ["train", "val"]),
        ("", ["/l", "/l/val"], ["", "val"]),
        ("", ["/l/a/x", "/l/b/x"], ["a/x", "b/x"]),
        ("/l", ["/l/a", "/l", "/l/a/b"], ["a", "", "a/b"]),
        ("/l/a", ["/l/b"], ["b"]),
        ("gs://b/l", ["gs://b/l/a/"], ["a"]),
        ("", ["gs://b/a", "gs://b/c"], ["a", "c"]),
    ],
)
def test_directories_are_named_by_what_tells_them_apart(root: str, directories: list[str], names: list[str]) -> None:
    """TB-1."""
    found = Namespaces(root, patience_s=5)
    for directory in directories:
        found.see(directory, 0.0)
    assert [found.name(directory, 0.0) for directory in directories] == names
    assert found.name(directories[0], 100.0) == names[0]


def test_one_directory_waits_for_others_and_then_has_no_name() -> None:
    """TB-1."""
    found = Namespaces(patience_s=5)
    assert found.name("/l/train", 0.0) is None
    assert found.name("/l/train", 4.0) is None
    assert found.name("/l/train", 5.0) == ""
    assert found.name("/l/val", 6.0) == "val"
    assert found.name("/l/train/sub", 6.0) == "sub"
    assert Namespaces().name("/l", 0.0, last=True) == ""


def test_a_record_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """TB-1."""
    board = SummaryWriter(str(tmp_path / "whole"))
    board.add_scalar("a", 1.0, 1)
    board.add_scalar("a", 2.0, 2)
    board.close()
    (source,) = (tmp_path / "whole").iterdir()
    data = source.read_bytes()
    (tmp_path / "grows").mkdir()
    growing = tmp_path / "grows" / source.name
    growing.write_bytes(data[:-9])
    files = EventFiles(str(tmp_path / "grows"))
    assert [event.step for event in files.new_events() if event_values(event)] == [1]
    assert [event.step for event in files.new_events() if event_values(event)] == []
    with growing.open("ab") as file:
        file.write(data[-9:])
    assert [event.step for event in files.new_events() if event_values(event)] == [2]
    assert list(EventFiles(str(tmp_path / "missing")).new_events()) == []


def test_whose_an_event_file_is() -> None:
    """TB-1."""
    name = "events.out.tfevents.1700000000.host.12.0.v2"
    assert is_own_event_file(name, "host", 1700000000.9)
    assert not is_own_event_file(name, "host", 1700000001.0)
    assert not is_own_event_file(name, "hos", 0.0)
    assert not is_own_event_file("events.out.tfevents.x.host", "host", 0.0)


def test_reading_leaves_the_interpreter_to_the_training() -> None:
    """TB-1: a pause after each slice."""
    pauses = Pauses(slice_s=0.0, pause_s=0.01)
    began = time.perf_counter()
    for _ in range(5):
        pauses.take()
    assert time.perf_counter() - began >= 0.05
    long = Pauses(slice_s=1000.0, pause_s=1000.0)
    long.take()


def test_a_module_is_seen_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TB-1."""
    (tmp_path / "seen_later_module.py").write_text("value = 1\n")
    (tmp_path / "not_wanted_module.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[Any] = []
    before = list(sys.meta_path)
    import_hooks.when_imported("seen_later_module", seen.append)
    undo = import_hooks.when_imported("not_wanted_module", seen.append)
    undo()
    later = importlib.import_module("seen_later_module")
    importlib.import_module("not_wanted_module")
    assert seen == [later]
    assert type(later.__loader__).__module__ == "_frozen_importlib_external"
    assert sys.meta_path == before
    import_hooks.when_imported("seen_later_module", seen.append)
    assert seen == [later, later]


def test_a_broken_patch_breaks_no_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TB-1."""
    (tmp_path / "patched_badly_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import_hooks.when_imported("patched_badly_module", lambda module: module.missing)
    importlib.import_module("patched_badly_module")
    assert "missing" in capsys.readouterr().err


def test_a_directory_of_event_files_is_imported_as_a_run(tmp_path: Path) -> None:
    """TB-2: `Api.sync_tensorboard`; the active run is not touched."""
    for name in ("train", "val"):
        board = SummaryWriter(str(tmp_path / "logs" / name))
        for step in range(3):
            board.add_scalar("loss", float(step), step)
        board.close()
    api = tracker.Api({"base_url": str(tmp_path / "root")})
    with tracker.init(mode="offline", project="other") as active:
        run = api.sync_tensorboard(tmp_path / "logs", run_id="imported", project="boards")
        assert tracker.run is active
    assert (run.id, run.project, run.state) == ("imported", "boards", "finished")
    rows = [{key: value for key, value in row.items() if not key.startswith("_")} for row in run.scan_history()]
    assert rows == [
        {f"{name}/loss": float(step), f"{name}/global_step": step} for name in ("train", "val") for step in range(3)
    ]
    assert run.summary["val/loss"] == 2.0
    with pytest.raises(UsageError, match="no event files"):
        api.sync_tensorboard(tmp_path / "root")


def test_an_mp4_tells_its_size(tmp_path: Path) -> None:
    """VID-2."""
    from tracker.sdk.media_files import VideoFile

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    sound, picture = bytes(84), bytes(76) + struct.pack(">II", 640 << 16, 480 << 16)
    tracks = b"".join(box(b"trak", box(b"tkhd", header)) for header in (sound, picture))
    (tmp_path / "a.mp4").write_bytes(box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(8)) + tracks))
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert VideoFile.at(tmp_path / "a.mp4").fields == {"width": 640, "height": 480}
    assert VideoFile.at(tmp_path / "b.mp4", caption="c").fields == {"caption": "c"}


def test_a_forked_child_reads_nothing_and_notices_nothing(start: Start, tmp_path: Path) -> None:
    """TB-1, RE-5: its copies of the libraries are as they were."""
    before = EventFileWriter.__init__
    run, writer = start(sync_tensorboard=True)
    run.recorder.services.after_fork()
    assert EventFileWriter.__init__ is before
    assert not noticed.is_patched
    SummaryWriter(str(tmp_path / "in the child")).close()
    run.finish()
    assert writer.rows() == []


def test_a_chart_stands_in_the_internal_config_and_not_in_the_users(tmp_path: Path) -> None:
    """CHART-2, CFG-15."""
    board = SummaryWriter(str(tmp_path / "logs"))
    board.add_pr_curve("curve", np.array([0, 1]), np.array([0.1, 0.9]), 1, num_thresholds=3)
    board.close()
    api = tracker.Api({"base_url": str(tmp_path / "root")})
    run = api.sync_tensorboard(tmp_path / "logs", project="boards")
    assert run.config == {}
    chart = run.rawconfig["_wandb"]["visualize"]["curve"]
    assert chart["panel_config"]["panelDefId"] == "wandb/area-under-curve/v0"
    with run.file(run.summary["curve_table"]["path"]).download(root=str(tmp_path / "down")) as file:
        assert json.loads(file.read())["columns"] == ["class", "recall", "precision"]
