"""`Api(roots=[...])`: several places that answer as one, and what is written to which of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter, made_run

import tracker
from tracker.apis.public import Api
from tracker.errors import StorageUnavailable, UsageError
from tracker.storage.cache import PartCache
from tracker.storage.clock import wall_us
from tracker.storage.format_file import ensure_format
from tracker.storage.local import LocalStore
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.purge import purge_runs
from tracker.storage.stores import open_store
from tracker.storage.sync import copy_root

S = 60_000_000  # microseconds: the runs begin a minute apart


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two roots. `here` has a, both, half (its beginning) and q/x; `there` has b, both, half (its end)."""
    here, there = (str(tmp_path / name) for name in ("here", "there"))
    monkeypatch.setenv("TRACKER_PROJECT", "p")
    for url in (here, there):
        ensure_format(open_store(url))
        made_run(url, "both", [{"loss": 3.0}], config={"n": 3}, start_us=T0 + 3 * S)
    made_run(here, "a", [{"loss": 1.0}, {"loss": 0.5}], config={"n": 1}, start_us=T0 + S)
    made_run(there, "b", [{"loss": 2.0}], config={"n": 2}, start_us=T0 + 2 * S)
    ref = RunRef("main", "p", "half")
    MadeWriter(open_store(here), ref, 7, T0 + 4 * S).begin({}, {"n": 4}).log({"loss": 4.0}).end("failed")
    MadeWriter(open_store(there), ref, 8, T0 + 5 * S, opens=False, step=1).begin().log({"loss": 3.5}).end()
    made_run(here, "x", [{"loss": 9.0}], project="q")
    return [here, there]


@pytest.fixture
def api(roots: list[str]) -> Api:
    return Api(roots=roots)


def below(root: str, part: str) -> list[str]:
    return [info.key for info in open_store(root).list("") if part in info.key]


def test_runs_of_all_roots_are_one_collection(api: Api) -> None:
    """RUNS-3: each run counts once."""
    runs = api.runs("p")
    assert [run.id for run in runs] == ["a", "b", "both", "half"]
    assert len(runs) == 4
    chosen = api.runs("p", {"config.n": {"$gte": 2}}, "-summary_metrics.loss")
    assert [run.id for run in chosen] == ["half", "both", "b"]
    rows = [(row["run_id"], row["loss"]) for row in runs.histories(samples=None)]
    assert rows == [("a", 1.0), ("a", 0.5), ("b", 2.0), ("both", 3.0), ("half", 4.0), ("half", 3.5)]
    assert [project.name for project in api.projects("main")] == ["p", "q"]
    assert api.run("p/half").state == "finished"
    assert api.run("p/b").summary["loss"] == 2.0


def test_a_difference_between_runs_of_two_roots(api: Api) -> None:
    assert api.diff("p/a", "p/b").to_dict()["config"]
    assert api.diff("p/both", Api(roots=[api.client.roots[1]]).run("p/both"), sections=["config", "summary"]).equal


def test_sql_reads_all_roots(api: Api) -> None:
    found = api.sql("SELECT run_id, count(*) AS n FROM history GROUP BY 1 ORDER BY 1")
    assert found.to_pydict() == {"run_id": ["a", "b", "both", "half"], "n": [2, 1, 1, 2]}
    both = api.sql("SELECT project, count(*) FROM runs GROUP BY 1 ORDER BY 1", "main/*")
    assert both.to_pylist() == [{"project": "p", "count_star()": 4}, {"project": "q", "count_star()": 1}]


def test_tables_events_and_rows_to_come_of_all_roots(api: Api) -> None:
    table = api.runs("p").to_arrow(["id", "config.n", "summary.loss"])
    assert table.to_pydict() == {
        "id": ["a", "b", "both", "half"],
        "config.n": [1, 2, 3, 4],
        "summary.loss": [0.5, 2.0, 3.0, 3.5],
    }
    assert [row["loss"] for row in api.run("p/half").follow(last=None)] == [4.0, 3.5]
    assert len({event["writer"] for event in api.run("p/half").events()}) == 2


def test_a_packed_copy_and_a_loose_one_are_one_run(roots: list[str], api: Api) -> None:
    before = [run.summary._json_dict for run in api.runs("p")]
    compact_project(open_store(roots[1]), "main", "p", now_us=wall_us(), quiet_s=0, finished_quiet_s=0, grace_s=0)
    open_store(roots[1]).delete(below(roots[1], "/runs/"))
    assert below(roots[1], "/packs/")
    again = Api(roots=roots)
    assert [run.summary._json_dict for run in again.runs("p")] == before
    assert [row["loss"] for row in again.run("p/both").scan_history()] == [3.0]


def test_a_change_goes_to_every_root_that_has_the_run(roots: list[str], api: Api) -> None:
    here, there = roots
    run = api.run("p/b")
    run.tags = ["new"]
    run.update()
    assert not below(here, "/edits/")
    assert len(below(there, "/edits/")) == 1
    both = api.run("p/both")
    both.config["n"] = 33
    both.update()
    assert api.run("p/both").config["n"] == 33
    for root in roots:
        assert Api({"base_url": root}).run("p/both").config["n"] == 33
    assert Api({"base_url": there}).run("p/b").tags == ["new"]
    api.run("p/both").delete()
    assert [run.id for run in Api(roots=roots).runs("p")] == ["a", "b", "half"]
    for root in roots:
        assert "both" not in [run.id for run in Api({"base_url": root}).runs("p")]
    api.restore("p/both")
    assert len(Api(roots=roots).runs("p")) == 4


def test_a_change_of_a_packed_run_goes_to_the_root_that_packed_it(roots: list[str]) -> None:
    compact_project(open_store(roots[1]), "main", "p", now_us=wall_us(), quiet_s=0, finished_quiet_s=0, grace_s=0)
    run = Api(roots=roots).run("p/b")
    run.notes = "packed"
    run.update()
    assert (below(roots[0], "/edits/"), len(below(roots[1], "/edits/"))) == ([], 1)


def test_files_are_read_from_where_they_are_and_put_where_the_run_is(
    roots: list[str], api: Api, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("hello")
    api.run("p/b").upload_file(str(tmp_path / "note.txt"), root=str(tmp_path))
    assert (below(roots[0], "/blobs/"), len(below(roots[1], "/blobs/"))) == ([], 1)
    file = api.run("p/b").file("note.txt")
    with file.download(str(tmp_path / "target")) as text:
        assert text.read() == "hello"
    assert file.url.startswith(Path(roots[1]).as_uri())
    assert api.run("p/a").url.startswith(Path(roots[0]).as_uri())
    assert api.run("p/b").url.startswith(Path(roots[1]).as_uri())


def test_what_is_new_goes_to_the_first_root(roots: list[str], api: Api) -> None:
    run = api.create_run(run_id="fresh", project="p")
    assert run.state == "running"
    assert below(roots[0], "/fresh/")
    assert not below(roots[1], "/fresh/")


def test_what_was_purged_in_one_root_does_not_show_from_another(roots: list[str]) -> None:
    assert purge_runs(open_store(roots[0]), "main", "p", ["both"], now_us=wall_us()).writers
    assert below(roots[1], "/both/")
    assert [run.id for run in Api(roots=roots).runs("p")] == ["a", "b", "half"]
    assert len(Api({"base_url": roots[1]}).runs("p", {"config.n": 3})) == 1


def test_of_two_copies_a_damaged_one_costs_nothing(roots: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (key,) = below(roots[0], "/both/")
    path = Path(roots[0], key)
    path.write_bytes(path.read_bytes()[:-40])
    assert [run.id for run in Api(roots=roots).runs("p")] == ["a", "b", "both", "half"]
    assert "both" not in [run.id for run in Api({"base_url": roots[0]}).runs("p")]


def test_of_two_copies_of_an_edit_a_damaged_one_costs_nothing(
    roots: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Api({"base_url": roots[0]}).run("p/a")
    run.notes = "told"
    run.update()
    copy_root(roots[0], roots[1])
    (key,) = below(roots[0], "/edits/")
    assert below(roots[1], "/edits/") == [key]
    Path(roots[0], key).write_bytes(b"PAR1 nothing PAR1")
    capsys.readouterr()
    assert Api(roots=roots).run("p/a").notes == "told"
    assert capsys.readouterr().err == ""
    assert Api({"base_url": roots[0]}).run("p/a").notes is None


def test_whoever_writes_a_run_is_asked_to_stop_in_its_root(roots: list[str]) -> None:
    made_run(roots[1], "live", [{"loss": 1.0}], state="running", start_us=wall_us())
    Api(roots=roots).run("p/live").stop()
    assert (below(roots[0], "/stop/"), len(below(roots[1], "/stop/"))) == ([], 1)


def test_what_is_kept_of_people_is_read_from_all_roots(roots: list[str]) -> None:
    Api({"base_url": roots[1]}).create_user("ada@example.org")
    found = Api(roots=roots).user("ada@example.org")
    assert found is not None
    assert found.email == "ada@example.org"


def test_a_root_that_does_not_answer_is_named(roots: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    original = LocalStore.list

    def list_(self: LocalStore, prefix: str) -> Any:
        if self.url == roots[1]:
            raise StorageUnavailable("the network is down")
        return original(self, prefix)

    monkeypatch.setattr(LocalStore, "list", list_)
    with pytest.raises(StorageUnavailable, match=f"{roots[1]}, one of 2 roots, .*the network is down"):
        list(Api(roots=roots).runs("p"))


def test_a_root_that_is_not_there_is_named(roots: list[str], tmp_path: Path) -> None:
    api = Api(roots=[*roots, str(tmp_path / "elsewhere")])
    for ask in (lambda: list(api.runs("p")), lambda: list(api.projects()), lambda: api.sql("SELECT 1")):
        with pytest.raises(UsageError, match="elsewhere, one of the 3"):
            ask()


def test_roots_are_a_list_of_places(roots: list[str]) -> None:
    for wrong in (roots[0], [], [""], [None]):
        with pytest.raises(UsageError, match="roots must be a list"):
            Api(roots=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not both"):
        Api({"base_url": roots[0]}, roots=roots)
    alone = Api(roots=[roots[1], Path(roots[1])])
    assert alone.settings["base_url"] == alone.client.store.url == roots[1]
    assert [run.id for run in alone.runs("p")] == ["b", "both", "half"]


def test_an_api_of_several_roots_goes_into_other_processes(api: Api) -> None:
    assert len(pickle.loads(pickle.dumps(api)).runs("p")) == 4


def test_an_unknown_project_names_all_roots(roots: list[str], api: Api) -> None:
    with pytest.raises(ValueError, match=f"{roots[0]} \\+ {roots[1]}"):
        len(api.runs("nothing"))


def test_the_past_of_several_roots(roots: list[str]) -> None:
    then = Api(roots=roots, as_of=(T0 + 2.5 * S) / 1e6)
    assert [run.id for run in then.runs("p")] == ["a", "b"]


def test_an_offline_folder_and_a_bucket_it_was_copied_to(s3_url: str, tmp_path: Path) -> None:
    """Local copies of the bucket's files are the same that a reader of the bucket alone keeps."""
    offline = str(tmp_path / "offline")
    run = tracker.init(project="p", id="r", settings={"base_url": offline})
    run.log({"loss": 1.0})
    run.finish()
    copy_root(offline, s3_url)
    made_run(s3_url, "only", [{"loss": 2.0}])
    api = Api(roots=[s3_url, offline])
    assert sorted(run.id for run in api.runs("main/p")) == ["only", "r"]
    assert [row["loss"] for row in api.run("main/p/r").scan_history()] == [1.0]
    cache = PartCache(tmp_path, 1 << 20)
    store = open_store(s3_url)
    assert cache._folder(store).name in [folder.name for folder in api.client.cache.directory.iterdir()]
    assert api.run("main/p/only").url.startswith("s3://")
