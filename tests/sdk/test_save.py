"""`run.save` and the files in `run.dir`: what is kept, under which names, and when."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.apis.public import Api
from tracker.apis.public.run import Run as StoredRun
from tracker.sdk import files as files_module


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the test runs, with a few files: x.txt, d/a.txt, d/b.txt, d/sub/c.txt; each holds its own name."""
    (tmp_path / "d" / "sub").mkdir(parents=True)
    for name in ("x.txt", "d/a.txt", "d/b.txt", "d/sub/c.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def begin(place: Path, **settings: Any) -> tracker.Run:
    return tracker.init(project="p", settings={"base_url": str(place / "root"), "x_flush_min_s": 0.05, **settings})


def stored(run: tracker.Run) -> StoredRun:
    return Api({"base_url": run.recorder.root}).run(run.path)


def contents(run: tracker.Run) -> dict[str, str]:
    """Text of the run's files by name."""
    found = stored(run)
    folder = Path(run.recorder.root).parent / "downloaded" / str(time.time_ns())
    texts = {}
    for file in found.files():
        with file.download(str(folder)) as text:
            texts[file.name] = text.read()
    return texts


def relative(run: tracker.Run, paths: bool | list[str]) -> list[str]:
    assert isinstance(paths, list)
    return [os.path.relpath(path, run.dir) for path in paths]


def wait_for(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_relative_glob_keeps_its_folders(place: Path) -> None:
    """SAVE-1, SAVE-3, SAVE-5: paths in the run directory come back; there the files are links."""
    run = begin(place)
    assert relative(run, run.save("x.txt")) == ["x.txt"]
    assert relative(run, run.save("d/*.txt")) == ["d/a.txt", "d/b.txt"]
    assert Path(run.dir, "d/a.txt").is_symlink()
    assert Path(run.dir, "d/a.txt").resolve() == place / "d/a.txt"
    assert relative(run, run.save("d/**/c.txt")) == ["d/sub/c.txt"]
    assert relative(run, run.save("./d/../x.txt")) == ["x.txt"]
    run.finish()
    assert contents(run) == {name: name for name in ("x.txt", "d/a.txt", "d/b.txt", "d/sub/c.txt")}


def test_base_path_strips_a_prefix_and_an_absolute_glob_keeps_one_folder(place: Path, capsys: Any) -> None:
    """SAVE-3: without base_path only the parent's name stays, which is said."""
    run = begin(place)
    assert relative(run, run.save("d/sub/c.txt", base_path="d")) == ["sub/c.txt"]
    assert relative(run, run.save(str(place / "x.txt"), base_path=str(place))) == ["x.txt"]
    capsys.readouterr()
    assert relative(run, run.save(str(place / "d" / "a.txt"))) == ["d/a.txt"]
    assert "base_path" in capsys.readouterr().err
    run.finish()


@pytest.mark.parametrize(
    ("glob", "base"),
    [("../x", "."), ("d", "d"), ("", None), ("*", None), ("*/a.txt", None), ("d/*", "d"), ("x.txt", "d")],
)
def test_globs_outside_of_their_base_are_refused(place: Path, glob: str, base: str | None) -> None:
    """SAVE-4: above the base, equal to it, or a first part that is `*`."""
    run = begin(place)
    with pytest.raises(ValueError, match="base path"):
        run.save(glob, base_path=base)
    run.finish()


def test_what_save_takes_and_answers(place: Path, capsys: Any) -> None:
    """SAVE-1, SAVE-2: bytes and paths; no glob; URLs of stores; nothing found; an unknown policy."""
    run = begin(place)
    assert relative(run, run.save(b"x.txt")) == ["x.txt"]
    assert relative(run, run.save(Path("x.txt"))) == ["x.txt"]
    assert run.save() is True
    capsys.readouterr()
    assert run.save("s3://bucket/x") == []
    assert run.save("gs://bucket/x") == []
    assert capsys.readouterr().err.count("remote store") == 2
    assert run.save("nothing*") == []
    with pytest.raises(ValueError, match="never"):
        run.save("x.txt", policy="never")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        run.save(3)  # type: ignore[arg-type]
    run.finish()
    with pytest.raises(tracker.UsageError, match="save"):
        run.save("x.txt")


def test_matched_directories_and_files_that_lie_there_already(place: Path) -> None:
    """SAVE-5: directories are in the result, and what is in them is kept; so are matching files in run.dir."""
    run = begin(place)
    Path(run.dir, "own.txt").write_text("own")
    assert relative(run, run.save("d/*")) == ["d/a.txt", "d/b.txt", "d/sub"]
    assert relative(run, run.save("own.txt", policy="now")) == ["own.txt"]
    assert relative(run, run.save("d")) == ["d"]
    run.finish()
    assert contents(run) == {name: name for name in ("d/a.txt", "d/b.txt", "d/sub/c.txt")} | {"own.txt": "own"}
    assert (place / "d" / "a.txt").read_text() == "d/a.txt"


def test_files_are_copied_where_links_are_not_wanted(place: Path) -> None:
    """SAVE-5, SET-2 `symlink`."""
    run = begin(place, symlink=False)
    run.save("x.txt", policy="end")
    run.save("d/*", policy="end")
    assert not any(path.is_symlink() for path in Path(run.dir).rglob("*"))
    (place / "x.txt").write_text("changed since")
    run.finish()
    assert contents(run)["x.txt"] == "x.txt"
    assert contents(run)["d/sub/c.txt"] == "d/sub/c.txt"


def test_policies_say_when_a_file_is_taken(place: Path) -> None:
    """SAVE-2: now at once and never again, end when the run ends, live both."""
    run = begin(place)
    for name, policy in (("x.txt", "now"), ("d/a.txt", "end"), ("d/b.txt", "live")):
        run.save(name, policy=policy)  # type: ignore[arg-type]
    assert run.recorder.files.wait(10)
    assert run.flush(10)
    assert contents(run) == {"x.txt": "x.txt", "d/b.txt": "d/b.txt"}
    for name in ("x.txt", "d/a.txt", "d/b.txt"):
        (place / name).write_text("second")
    run.finish()
    assert contents(run) == {"x.txt": "x.txt", "d/a.txt": "second", "d/b.txt": "second"}
    assert {file.name: file._row.fact.policy for file in stored(run).files()} == {
        "x.txt": "now",
        "d/a.txt": "end",
        "d/b.txt": "live",
    }


def test_a_live_file_is_sent_again_while_the_run_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAVE-2."""
    monkeypatch.setattr(files_module, "_POLL_S", 0.05)
    monkeypatch.setattr("tracker.sdk.live_files._EVERY_S", 0.0)
    run = begin(place)
    run.save("x.txt")
    assert run.recorder.files.wait(10)
    assert run.flush(10)
    (place / "x.txt").write_text("second")

    def changed() -> bool:
        run.flush(5)
        return contents(run).get("x.txt") == "second"

    wait_for(changed)
    run.finish()


def test_files_in_the_run_directory_are_kept_when_the_run_ends(place: Path) -> None:
    """SAVE-6; a file of policy now is not looked at again, an empty file is a file."""
    run = begin(place)
    Path(run.dir, "deep").mkdir()
    Path(run.dir, "deep", "model.txt").write_text("weights")
    Path(run.dir, "empty").touch()
    Path(run.dir, "broken").symlink_to("nowhere")
    run.finish()
    assert contents(run) == {"deep/model.txt": "weights", "empty": ""}
    assert Path(run.dir, "deep", "model.txt").read_text() == "weights", "the user's own files stay"


def test_ignored_names_are_not_kept(place: Path) -> None:
    """ENV-9."""
    run = begin(place, ignore_globs=("*.ckpt", "d/b*"))
    Path(run.dir, "model.ckpt").write_text("weights")
    run.save("d/*.txt")
    run.recorder.files.put_bytes("inner/x.ckpt", b"1")
    run.finish()
    assert sorted(contents(run)) == ["d/a.txt"]


def test_saving_before_init_and_when_disabled(place: Path) -> None:
    """MOD-4, MODE-4: before `init` an error, when disabled nothing."""
    with pytest.raises(tracker.Error, match=r"tracker\.save"):
        tracker.save("x.txt")
    run = tracker.init(mode="disabled")
    assert run.save("x.txt") is False
    assert tracker.restore("x.txt") is None
    run.finish()


def test_saving_offline_waits_for_sync(place: Path) -> None:
    """MODE-2: files are in the offline root, and `sync` copies them."""
    from tracker.storage.sync import sync_dir

    run = tracker.init(project="p", mode="offline")
    run.save("x.txt")
    run.finish()
    target = place / "target"
    report = sync_dir(place, default_to=str(target))
    assert report.failed == []
    file = Api({"base_url": str(target)}).run(run.path).file("x.txt")
    with file.download(str(place / "out")) as text:
        assert text.read() == "x.txt"


def test_trouble_with_one_file_is_said_once_and_harms_nothing(place: Path, capsys: Any) -> None:
    """A file that cannot be read, one that is gone, a disk limit: the run goes on."""
    run = begin(place, x_spool_bytes_max=1000)
    (place / "big").write_bytes(b"x" * 2000)
    run.recorder.files.put(place / "gone.txt")
    run.recorder.files.put(place / "big")
    run.save("x.txt")
    run.log({"a": 1})
    run.finish()
    said = capsys.readouterr().err
    assert "gone.txt is not kept with the run" in said
    assert "big is not kept with the run: the limit of" in said
    assert sorted(contents(run)) == ["x.txt"]


def test_names_that_lead_out_of_the_run_are_refused(place: Path) -> None:
    run = begin(place)
    for name in ("", "/etc/passwd", "a/../../b", ".."):
        with pytest.raises(ValueError, match="no name of a run's file"):
            run.recorder.files.put_bytes(name, b"1")
    run.finish()


def test_a_file_given_away_is_gone_and_kept(place: Path) -> None:
    run = begin(place)
    run.recorder.files.put("d/a.txt", "taken/a.txt", copy=False)
    assert not (place / "d" / "a.txt").exists()
    run.finish()
    assert contents(run) == {"taken/a.txt": "d/a.txt"}


def test_a_large_file_goes_beside_the_log(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics do not wait for it; it is named in the log when the store has it."""
    monkeypatch.setattr(files_module, "LARGE_BYTES", 3)
    run = begin(place)
    run.save("x.txt", policy="now")
    run.log({"a": 1})
    assert run.flush(10)
    run.finish()
    assert contents(run) == {"x.txt": "x.txt"}


def test_large_files_wait_on_the_disk_while_the_store_is_away(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The run ends without them; they are sent when the store is back, and what names them after them."""
    monkeypatch.setattr(files_module, "LARGE_BYTES", 3)
    (place / "root").write_text("in the way")
    run = begin(place, x_finish_timeout_s=0.3)
    run.save("x.txt", policy="now")
    run.log({"a": 1})
    run.finish()
    assert "wait on this machine" in capsys.readouterr().err
    (place / "root").unlink()
    wait_for(lambda: bool(list((place / "root").rglob("e-*.parquet"))))
    assert contents(run) == {"x.txt": "x.txt"}


def test_a_forked_child_keeps_files_of_its_own(place: Path) -> None:
    run = begin(place)
    run.save("x.txt", policy="live")
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run.recorder.files.put("d/a.txt")
            run.finish()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    run.finish()
    assert contents(run) == {"x.txt": "x.txt", "a.txt": "d/a.txt"}


def test_files_are_kept_when_ctrl_c_ends_the_waiting_for_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIN-6: what was not named in the log by then is named by whoever ships its rest."""
    run = begin(place)
    Path(run.dir, "own.txt").write_text("own")
    run.save("x.txt", policy="end")

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files_module.FileStore, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    run.finish()
    assert contents(run) == {"own.txt": "own", "x.txt": "x.txt"}
