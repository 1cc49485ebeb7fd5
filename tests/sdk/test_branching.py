"""`fork_from` and `resume_from`: what a life that begins inside another history says, shows and goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from branched_runs import losses, source, stored

import tracker
from tracker.apis.public import Api
from tracker.errors import UsageError
from tracker.storage.branches import parse_branch
from tracker.storage.events import KIND_BRANCH, decode_cell


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_BASE_URL", str(tmp_path / "root"))
    monkeypatch.setenv("TRACKER_CONSOLE", "off")
    monkeypatch.setenv("TRACKER_X_DISABLE_STATS", "true")
    monkeypatch.setenv("TRACKER_X_DISABLE_META", "true")


def branch_of(run_id: str) -> dict[str, Any]:
    """The value of the newest fact of kind `branch` of a run."""
    facts = [
        fact
        for part in stored(run_id)._open().runs[run_id].parts
        for fact in part.records.facts.to_pylist()
        if fact["kind"] == KIND_BRANCH
    ]
    last = max(facts, key=lambda fact: fact["hlc"])
    value = decode_cell(*(last[name] for name in "tvis"))
    assert parse_branch(last["key"], value) is not None
    return value


# forks


def test_a_fork_shows_the_history_up_to_the_step_and_goes_on_behind_it() -> None:
    """FORK-1"""
    source()
    before = list(stored("a").scan_history())
    with tracker.init(project="p", fork_from="a?_step=4") as run:
        assert run.id != "a"
        assert (run.starting_step, run.step, run.resumed) == (5, 5, False)
        run.log({"loss": -1})
        child = run.id
    assert losses(child) == [(0, 10), (1, 9), (2, 8), (3, 7), (4, 6), (5, -1)]
    assert list(stored("a").scan_history()) == before, "the source is unchanged"
    assert branch_of(child)["run"] == "a"


def test_a_step_between_two_begins_at_the_next_one() -> None:
    """FORK-3, INIT-10"""
    source()
    with tracker.init(project="p", id="b", fork_from="a?_step=3.5") as run:
        assert run.starting_step == 4
    assert [step for step, _ in losses("b")] == [0, 1, 2, 3]
    assert branch_of("b")["step"] == 3
    with tracker.init(project="p", id="c", fork_from="a?_step=-1") as run:
        assert run.starting_step == 0
    assert losses("c") == []


def test_what_cannot_be_forked_is_refused() -> None:
    """FORK-4, REW-2, INIT-10, INIT-11"""
    source(3)
    for arguments in (
        {"fork_from": "a?_step=3"},
        {"fork_from": "missing?_step=0"},
        {"resume_from": "a?_step=3"},
        {"resume_from": "missing?_step=0"},
    ):
        with pytest.raises(UsageError, match=r"no step 3: its last one in the store is 2|no run main/p/missing"):
            tracker.init(project="p", **arguments)
        assert tracker.run is None
    for moment in ("a?_step=" + "9" * 400, "a?_step=x", "a?epoch=1", "?_step=1", "a"):
        with pytest.raises(ValueError, match="is no point in a run"):
            tracker.init(project="p", fork_from=moment)
    with pytest.raises(ValueError, match="itself"):
        tracker.init(project="p", id="a", fork_from="a?_step=1")
    assert [run.id for run in Api().runs("main/p")] == ["a"], "nothing was written"


def test_a_fork_inherits_config_tags_and_summary_and_has_a_name_of_its_own() -> None:
    """FORK-3"""
    with tracker.init(project="p", id="a", name="first", tags=["t"], notes="n", group="g", job_type="j") as run:
        run.config.update({"lr": 0.1, "net": {"depth": 3}, "a.b": 1})
        for step in range(3):
            run.log({"loss": 3 - step, "old": step if step < 1 else None} if step else {"loss": 3, "old": 7})
        run.summary["best"] = {"acc": 0.5}
    with tracker.init(project="p", id="b", fork_from="a?_step=2", config={"lr": 0.2}, tags=["u"]) as run:
        assert dict(run.config) == {"lr": 0.2, "net": {"depth": 3}, "a.b": 1}
        assert (run.tags, run.notes, run.group, run.job_type, run.name != "first") == (("u",), "n", "g", "j", True)
        assert (run.summary["loss"], run.summary["best"]["acc"], run.summary["_step"]) == (1, 0.5, 2)
    child = stored("b")
    assert child.config == {"lr": 0.2, "net": {"depth": 3}, "a.b": 1}
    assert (child.tags, child.notes, child.group, child.job_type) == (["u"], "n", "g", "j")
    assert child.name != "first"
    summary = child.summary_metrics
    assert (summary["loss"], summary["best"], summary["_step"]) == (1, {"acc": 0.5}, 2)
    assert [run.id for run in Api().runs("main/p", filters={"summary_metrics.loss": 1})] == ["a", "b"]


def test_differs_the_summary_of_a_fork_is_that_of_its_own_history() -> None:
    """FORK-3: what the source came to after the step, or was told by hand after it, is no part of the fork."""
    with tracker.init(project="p", id="a") as run:
        run.define_metric("loss", summary="min,mean")
        run.summary["early"] = 1
        for step in range(6):
            run.log({"loss": 10 - step})
            if step == 1:
                run.summary["told"] = "kept"
        run.summary["told"] = "late"
        run.summary["late"] = 1
    with tracker.init(project="p", id="b", fork_from="a?_step=3") as run:
        assert run.summary["told"] == "kept"
        assert "late" not in run.summary
        assert dict(run.summary["loss"].items()) == {"min": 7, "mean": 8.5}
        run.log({"loss": 3.5})
        assert dict(run.summary["loss"].items()) == {"min": 3.5, "mean": 7.5}
    summary = stored("b").summary_metrics
    assert (summary["told"], summary["early"], "late" in summary) == ("kept", 1, False)
    assert summary["loss"] == pytest.approx({"min": 3.5, "mean": 7.5})


def test_a_fork_shares_files_that_the_source_had_at_the_step(tmp_path: Path) -> None:
    """FORK-3: by name, without a copy of their contents."""
    (tmp_path / "early.txt").write_text("early")
    (tmp_path / "late.txt").write_text("late")
    with tracker.init(project="p", id="a") as run:
        run.recorder.files.put(tmp_path / "early.txt", "early.txt")
        run.recorder.files.put_bytes("dir/x.bin", b"xyz")
        assert run.flush(20)
        run.log({"loss": 1})
        run.log({"loss": 2})
        run.recorder.files.put(tmp_path / "late.txt", "late.txt")
    with tracker.init(project="p", id="b", fork_from="a?_step=0"):
        pass
    assert {file.name for file in stored("b").files()} == {"early.txt", "dir/x.bin"}
    blobs = [path for path in (tmp_path / "root").rglob("*") if path.is_file() and "blobs" in path.parts]
    assert len(blobs) == 3


def test_a_fork_of_a_fork_reads_as_one_history() -> None:
    """FORK-1: of any depth, also at a step below the one where its own source began."""
    source()
    for child, parent, step in (("b", "a", 5), ("c", "b", 7), ("d", "c", 8), ("e", "d", 2)):
        with tracker.init(project="p", id=child, fork_from=f"{parent}?_step={step}") as run:
            for n in range(4):
                run.log({"loss": n, f"only_{child}": n})
    assert losses("d") == [
        *[(step, 10 - step) for step in range(6)], (6, 0), (7, 1), (8, 0), (9, 0), (10, 1), (11, 2), (12, 3),
    ]  # fmt: skip
    assert losses("e") == [(0, 10), (1, 9), (2, 8), (3, 0), (4, 1), (5, 2), (6, 3)]
    summary = stored("d").summary_metrics
    assert {key for key in summary if key.startswith("only")} == {"only_b", "only_c", "only_d"}
    assert (summary["only_b"], summary["only_c"], summary["loss"]) == (1, 0, 3)
    assert "only_d" not in stored("e").summary_metrics
    assert stored("e").summary_metrics["text"] == "s2"


def test_figures_go_through_every_branch() -> None:
    """FORK-3, MET-9: min, max and mean of all points of the one history, whichever run logged them."""
    with tracker.init(project="p", id="a") as run:
        run.define_metric("x", summary="min,max,mean")
        for value in (5.0, 1.0, float("nan"), 9.0):
            run.log({"x": value})
    for child, at in (("b", "a?_step=1"), ("c", "b?_step=2"), ("d", "c?_step=0"), ("e", "c?_step=3")):
        with tracker.init(project="p", id=child, fork_from=at) as run:
            for value in (2.0, 8.0):
                run.log({"x": value})
            shown = dict(run.summary["x"].items())
        assert stored(child).summary_metrics["x"] == pytest.approx(shown)
    for child, least, mean in (("b", 1.0, 4.0), ("c", 1.0, 3.6), ("d", 2.0, 5.0), ("e", 1.0, 20 / 6)):
        assert stored(child).summary_metrics["x"] == pytest.approx({"min": least, "max": 8.0, "mean": mean}), child


# rewinds


def test_a_rewind_keeps_the_rows_up_to_the_step_and_hides_the_later_ones() -> None:
    """REW-1, INIT-11"""
    source(config={"lr": 1, "seed": 2}, tags=["t"], name="named")
    with tracker.init(project="p", resume_from="a?_step=4", config={"lr": 3}) as run:
        assert (run.id, run.starting_step, run.resumed, run.name, run.tags) == ("a", 5, False, "named", ("t",))
        assert dict(run.config) == {"lr": 3, "seed": 2}
        assert (run.summary["loss"], run.summary["text"], run.summary["_step"]) == (6, "s4", 4)
        run.log({"loss": -5})
    run = stored("a")
    assert losses("a") == [(0, 10), (1, 9), (2, 8), (3, 7), (4, 6), (5, -5)]
    assert (run.config, run.name, run.tags, run.state) == ({"lr": 3, "seed": 2}, "named", ["t"], "finished")
    assert (run.summary_metrics["loss"], run.summary_metrics["text"]) == (-5, "s4")
    assert run.lastHistoryStep == 5


def test_a_run_is_rewound_twice_and_then_resumed() -> None:
    """REW-1, RES-5"""
    source()
    for step, value in ((6, -6), (3, -3)):
        with tracker.init(project="p", resume_from=f"a?_step={step}") as run:
            run.log({"loss": value})
            run.log({"loss": value})
    assert losses("a") == [(0, 10), (1, 9), (2, 8), (3, 7), (4, -3), (5, -3)]
    with tracker.init(project="p", id="a", resume="must") as run:
        assert run.starting_step == 6
        run.log({"loss": 0})
    assert losses("a")[-2:] == [(5, -3), (6, 0)]
    with tracker.init(project="p", resume_from="a?_step=6") as run:
        assert run.starting_step == 7
    assert losses("a")[-1] == (6, 0)
    with pytest.raises(UsageError, match="no step 9"):
        tracker.init(project="p", resume_from="a?_step=9")


def test_a_rewind_hides_a_session_that_still_writes(tmp_path: Path) -> None:
    """REW-1: what the old session logs after the rewind belongs to the life that was rewound."""
    code = """
        import sys
        run = tracker.init(project="p", id="a", settings={"console": "off"})
        for step in range(10):
            run.log({"loss": 10 - step})
        assert run.flush(20)
        os.write(1, b"x")
        sys.stdin.read()
        for step in range(5):
            run.log({"loss": 1000})
        """
    import subprocess
    import sys
    import textwrap

    old = subprocess.Popen(
        [sys.executable, "-c", "import os, tracker\n" + textwrap.dedent(code)],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert old.stdin is not None
    assert old.stdout is not None
    with old, tracker.init(project="p", resume_from=_once(old, "a?_step=4")) as run:
        run.log({"loss": -1})
        assert run.flush(20)
        old.stdin.close()
        assert old.wait(60) == 0
        old.stdout.close()
        run.log({"loss": -2})
    assert losses("a") == [(0, 10), (1, 9), (2, 8), (3, 7), (4, 6), (5, -1), (6, -2)]
    assert stored("a").state == "finished"


def _once(process: Any, moment: str) -> str:
    assert process.stdout.read(1) == b"x"
    return moment


def test_what_a_rewind_leaves_where_it_was() -> None:
    """REW-1, FORK-2: system metrics stay with the run, files with the life that was rewound; its rows stay readable."""
    with tracker.init(project="p", id="a") as run:
        run.recorder.files.put_bytes("model.bin", b"weights")
        for step in range(4):
            run.log({"loss": 10 - step})
            assert run.recorder.writer is not None
            run.recorder.writer.write_points("system", {"cpu": float(step)})
    with tracker.init(project="p", resume_from="a?_step=1") as run:
        run.log({"loss": 0})
    again = stored("a")
    assert again.rawconfig["_wandb"]["branch_point"] == {"run_id": "a", "step": 1}
    assert [row["system.cpu"] for row in again.history(stream="system", pandas=False)] == [0.0, 1.0, 2.0, 3.0]
    assert "model.bin" not in {file.name for file in again.files()}
    old, new = again.lives()
    assert (old["shown"], new["shown"]) == (False, True)
    assert [row["loss"] for row in again.scan_history(keys=["loss"], life=old["id"])] == [10, 9, 8, 7]
    assert losses("a") == [(0, 10), (1, 9), (2, 0)]


def test_a_fork_of_a_run_stays_as_it_was_when_the_source_is_rewound() -> None:
    """FORK-1, REW-1"""
    source()
    with tracker.init(project="p", id="b", fork_from="a?_step=7") as run:
        run.log({"loss": 70})
    with tracker.init(project="p", resume_from="a?_step=2") as run:
        run.log({"loss": 20})
    assert losses("b") == [*[(step, 10 - step) for step in range(8)], (8, 70)]
    with tracker.init(project="p", id="c", fork_from="a?_step=3") as run:
        pass
    assert losses("c") == [(0, 10), (1, 9), (2, 8), (3, 20)]
