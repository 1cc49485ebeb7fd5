"""`api.diff` and `Run.events`: two runs compared, and what happened to one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars
import pytest
from run_view import run_script
from store_maker import T0, MadeWriter, made_run

from tracker.apis.public import Api
from tracker.apis.public.run_diff import SECTIONS, RunDiff
from tracker.errors import CommError, UsageError
from tracker.query.diff_side import TEXT_BYTES_MAX
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "root")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    return url


def meta(**leaves: Any) -> list[tuple[str, str, Any]]:
    return [("meta", path, value) for path, value in leaves.items()]


def run_with(root: str, run_id: str, extra: list[tuple[str, str, Any]], **attrs: Any) -> None:
    writer = MadeWriter(open_store(root), RunRef("main", "p", run_id), len(run_id), T0)
    writer.begin({"name": run_id} | attrs, {}, extra).end()


def upload(api: Api, run_id: str, folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        api.run(f"p/{run_id}").upload_file(path, folder)


def test_config_and_summary_are_compared_leaf_by_leaf(root: str) -> None:
    made_run(root, "a", [{"loss": 1.0}, {"loss": 0.5}], config={"lr": 0.1, "opt": "adam", "m": {"d": [1]}})
    made_run(root, "b", [{"loss": 1.0}, {"loss": 0.4}], config={"lr": 0.1, "opt": {"name": "x"}, "m": {"d": [2]}})
    diff = Api().diff("p/a", "p/b")
    assert diff.config.changed == {"m.d": ([1], [2])}
    assert (diff.config.removed, diff.config.added) == ({"opt": "adam"}, {"opt.name": "x"})
    assert diff.summary.changed == {"loss": (0.5, 0.4)}, "times do not count"
    assert [one.path for one in diff.config] == ["m.d", "opt", "opt.name"]
    assert (len(diff.config), bool(diff.metadata), diff.equal) == (3, False, False)
    assert [(one.key, one.first_step, one.first_a, one.first_b) for one in diff.metrics] == [("loss", 1, 0.5, 0.4)]
    assert diff.metrics.first_step == 1
    assert repr(diff).endswith("3 config, 1 summary, 0 metadata, 0 packages, 0 code, 1 metrics>")
    assert Api().diff("p/a", "p/a").equal


def test_a_tolerance_patterns_and_sections_choose_what_counts(root: str) -> None:
    made_run(root, "a", [{"loss": 1.0, "time/step": 3.0}], config={"lr": 0.1})
    made_run(root, "b", [{"loss": 1.0 + 1e-9, "time/step": 4.0}], config={"lr": 0.2})
    api = Api()
    assert not api.diff("p/a", "p/b", sections=["metrics"], keys=["loss"]).equal
    assert api.diff("p/a", "p/b", sections="metrics", keys=["loss"], rtol=1e-6).equal
    assert api.diff("p/a", "p/b", atol=1e-6, ignore=["*.time/*", "config"]).equal
    assert list(api.diff("p/a", "p/b", sections=("metrics", "config")).to_dict()) == [
        "a", "b", "equal", "config", "metrics",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="'confg'"):
        api.diff("p/a", "p/b", sections=["confg"])
    with pytest.raises(UsageError, match="atol"):
        api.diff("p/a", "p/b", atol=-1)
    with pytest.raises(UsageError, match="Neither main/p/a nor main/p/b has logged 'los'"):
        _ = api.diff("p/a", "p/b", sections="metrics", keys=["loss", "los"]).equal
    with pytest.raises(CommError, match="could not find run main/p/nope") as error:
        api.diff("p/a", "p/nope")
    assert isinstance(error.value.exc, ValueError)


def test_rows_stand_side_by_side_in_every_format(root: str) -> None:
    made_run(root, "a", [{"loss": 1.0, "n": 1}, {"loss": 0.5}])
    made_run(root, "b", [{"loss": 1.0, "_step": 0}, {"loss": 0.25, "_step": 4}])
    diff = Api().diff("p/a", "p/b")
    assert diff.metrics(keys=["loss"]) == [
        {"_step": 0, "a.loss": 1.0, "b.loss": 1.0, "difference.loss": 0.0},
        {"_step": 1, "a.loss": 0.5},
        {"_step": 4, "b.loss": 0.25},
    ]
    frame = diff.metrics(format="polars", keys=["loss"])
    assert isinstance(frame, polars.DataFrame)
    assert frame["difference.loss"].to_list() == [0.0, None, None]
    assert diff.metrics("arrow").column_names == diff.metrics("pandas").columns.tolist()
    with pytest.raises(CommError, match="'parket'"):
        diff.metrics("parket")


def test_metadata_leaves_out_what_no_two_runs_share(root: str) -> None:
    same = {"os": "Linux", "startedAt": "x", "disk./.used": 1, "git.commit": "c", "cpu_count": 8}
    run_with(root, "a", meta(**same))
    run_with(root, "b2", meta(**{**same, "startedAt": "y", "disk./.used": 2, "git.commit": "d", "cpu_count": 16}))
    diff = Api().diff("p/a", "p/b2", sections=["metadata", "code"])
    assert diff.metadata.changed == {"cpu_count": (8, 16)}
    assert diff.code.changed == {"commit": ("c", "d")}


def test_packages_are_compared_by_name_as_pip_does(root: str, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        made_run(root, name)
    api = Api()
    upload(api, "a", tmp_path / "x", requirements_dot_txt="# c\nNumPy==1.26\ntyping_extensions==4.1\ntorch==2.0\n")
    upload(api, "b", tmp_path / "y", requirements_dot_txt="numpy==2.0\ntyping-extensions==4.1\nzarr @ file:///z\n")
    packages = api.diff("p/a", "p/b").packages
    assert (packages.changed, packages.removed, packages.added) == (
        {"numpy": ("1.26", "2.0")}, {"torch": "2.0"}, {"zarr": "@ file:///z"},
    )  # fmt: skip
    unknown = api.diff("p/a", "p/c").packages
    assert [one.to_dict() for one in unknown] == [{"path": "*", "change": "removed", "a": "3 packages"}]


def test_code_is_compared_by_commit_and_by_what_was_kept(root: str, tmp_path: Path) -> None:
    made_run(root, "a", attrs={"commit": "c1"})
    made_run(root, "b", attrs={"commit": "c1"})
    api = Api()
    upload(api, "a", tmp_path / "x", diff_dot_patch="-x = 1\n+x = 2\n", code__train_dot_py="p()\n", other_dot_txt="1")
    upload(api, "b", tmp_path / "y", diff_dot_patch="-x = 1\n+x = 3\n", code__new_dot_py="new", other_dot_txt="2")
    code = api.diff("p/a", "p/b").code
    assert [(one.path, one.kind) for one in code] == [
        ("code/new.py", "added"), ("code/train.py", "removed"), ("diff.patch", "changed"),
    ]  # fmt: skip
    assert code.patch.splitlines() == [
        "--- /dev/null", "+++ b/code/new.py", "@@ -0,0 +1 @@", "+new", "\\ No newline at end of file",
        "--- a/code/train.py", "+++ /dev/null", "@@ -1 +0,0 @@", "-p()",
        "--- a/diff.patch", "+++ b/diff.patch", "@@ -1,2 +1,2 @@", " -x = 1", "-+x = 2", "++x = 3",
    ]  # fmt: skip


def test_large_files_are_named_and_not_read(root: str, tmp_path: Path) -> None:
    for n, name in enumerate(("a", "b")):
        made_run(root, name)
        big, long = str(n) * (TEXT_BYTES_MAX + 1), f"{n}\n" * 10_001
        upload(Api(), name, tmp_path / name, code__big_dot_py=big, code__long_dot_py=long)
    assert Api().diff("p/a", "p/b").code.patch.splitlines() == [
        "Files a/code/big.py and b/code/big.py differ", "Files a/code/long.py and b/code/long.py differ",
    ]  # fmt: skip


def test_runs_of_two_roots_and_of_two_times(root: str, tmp_path: Path) -> None:
    made_run(root, "a", config={"lr": 1})
    made_run(str(tmp_path / "other"), "a", config={"lr": 2}, project="q")
    here = Api().run("p/a")
    there = Api({"base_url": str(tmp_path / "other")}).run("q/a")
    assert here.diff(there, sections="config").config.changed == {"lr": (1, 2)}
    before = Api(as_of=(T0 + 500_000_000) / 1e6).run("p/a")
    here.config["lr"] = 5
    here.update()
    assert Api().diff(before, "p/a", sections="config").config.changed == {"lr": (1, 5)}


def test_a_run_in_a_bucket_beside_one_in_a_directory(root: str, s3_url: str, tmp_path: Path) -> None:
    for url, lr in ((root, 0.1), (s3_url, 0.2)):
        made_run(url, "a", [{"loss": lr}], config={"lr": lr})
        upload(Api({"base_url": url}), "a", tmp_path / str(lr), code__train_dot_py=f"lr = {lr}\n")
    there = Api({"base_url": s3_url}).run("p/a")
    diff = Api().diff("p/a", there)
    assert diff.config.changed == {"lr": (0.1, 0.2)}
    assert "-lr = 0.1\n+lr = 0.2\n" in diff.code.patch
    assert [one.key for one in diff.metrics] == ["loss"]
    assert there.events("file")[0]["text"] == "set files code/train.py"


def test_runs_of_several_roots_that_answer_as_one(root: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    for url, name in ((root, "a"), (other, "b")):
        made_run(url, name, [{"loss": 1.0}], config={"name": name})
        upload(Api({"base_url": url}), name, tmp_path / name, code__train_dot_py=f"{name}\n")
    api = Api(roots=[root, other])
    diff = api.diff("p/a", "p/b")
    assert diff.config.changed == {"name": ("a", "b")}
    assert "-a\n+b\n" in diff.code.patch
    assert diff.metrics.equal
    assert api.events("p/b", ["file"])[0]["host"], "who edited is in the second root"


def test_a_diff_in_a_notebook_is_escaped(root: str) -> None:
    made_run(root, "a", [{"<m>": 1}], config={"<b>": "<script>", "long": "x" * 900})
    made_run(root, "b", [{"<m>": 2}])
    page = Api().diff("p/a", "p/b")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "x" * 300 not in page
    assert page.count("<table>") == 3
    assert "no differences in config, summary" in Api().diff("p/a", "p/a")._repr_html_()


def test_only_what_is_looked_at_is_read(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made_run(root, "a", [{"n": 1}], config={"lr": 1})
    made_run(root, "b", [{"n": 2}], config={"lr": 2})
    monkeypatch.setattr("tracker.query.diff_side.scan_batches", pytest.fail)
    monkeypatch.setattr("tracker.query.diff_side.run_file_rows", pytest.fail)
    diff = Api().diff("p/a", "p/b")
    assert diff.config.changed == {"lr": (1, 2)}
    assert not diff.equal, "the first section decides"
    assert isinstance(diff, RunDiff)
    assert diff.sections == SECTIONS


@pytest.mark.usefixtures("root")
def test_events_of_a_real_session_and_of_who_changed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        run = tracker.init(project="p", id="r", name="first", config={"lr": 0.1}, settings={"username": "ada"})
        run.log({"loss": 1.0})
        run.config.update({"lr": 0.2}, allow_val_change=True)
        run.finish(3)
        """
    done = run_script(code, tmp_path)
    assert done.returncode == 0, done.err  # type: ignore[attr-defined]
    monkeypatch.setenv("TRACKER_USERNAME", "eve")
    monkeypatch.setattr("tracker.storage.edits._writers", {})
    run = Api().run("p/r")
    run.tags.append("best")
    run.update()
    found = run.events(["started", "config", "ended", "fields"])
    texts = [(event["kind"], event["user"]) for event in found]
    assert [text for text in texts if text[0] == "config"] == [("config", "ada")] * 2
    assert texts[0] == ("started", "ada")
    assert texts[-2:] == [("ended", "ada"), ("fields", "eve")]
    assert found[-2]["text"] == "ended as failed, exit code 3"
    assert found[-1]["changes"] == [{"path": "tags", "change": "set", "after": ["best"]}]
    assert json.loads(json.dumps(found)) == found
    assert [event["kind"] for event in run.events("rows")] == ["rows"]
    run.delete()
    assert Api().events("p/r")[-1]["text"] == "deleted the run"
    with pytest.raises(CommError, match="could not find run main/p/nope"):
        Api().events("p/nope")
    with pytest.raises(UsageError, match="since"):
        Api().events("p/r", since="yesterday")
