"""Details of the rules about Api, Runs and Run that scripts meet. Rules API-1..4, 6, 7, 12, 13, RUNS-1..5, RUN-1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, made_run

import tracker
from tracker.apis.public import Api, Project, Run, Runs
from tracker.apis.public import runs as runs_module
from tracker.errors import CommError, Error
from tracker.sdk import session
from tracker.sdk.places import config_dir


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    for n in range(5):
        made_run(url, f"r{n}", [{"loss": n}], config={"n": n}, start_us=T0 + n * 60_000_000)
    return url


def test_settings_of_later_layers_win(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-1, API-2: the settings file, then the environment, then setup and login, then overrides."""
    places = {layer: str(tmp_path / layer) for layer in ("file", "environment", "login", "override")}
    monkeypatch.delenv("TRACKER_BASE_URL")

    def seen(**overrides: str) -> tuple[str, str | None, str]:
        settings = Api(overrides).settings
        return settings["entity"], settings["project"], settings["base_url"]

    file = config_dir() / "settings"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[default]\nentity = file\nproject = file\nbase_url = {places['file']}\n")
    assert seen() == ("file", "file", places["file"])
    for name in ("ENTITY", "PROJECT"):
        monkeypatch.setenv(f"TRACKER_{name}", "environment")
    monkeypatch.setenv("TRACKER_BASE_URL", places["environment"])
    assert seen() == ("environment", "environment", places["environment"])
    kept = {"entity": "login", "project": "login", "base_url": places["login"]}
    monkeypatch.setattr(session.current, "settings", kept)
    assert seen() == ("login", "login", places["login"])
    given = {"entity": "override", "project": "override", "base_url": places["override"]}
    assert seen(**given) == ("override", "override", places["override"])
    assert seen(project="override") == ("login", "override", places["login"])


def test_a_run_id_of_the_environment_is_of_the_run_to_come(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-2: WANDB_RUN_ID names the run that init begins, and none that is asked for."""
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    assert Api().settings["run"] is None


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("main/p/sweeps/r1", "main/p/r1"),
        ("/runs/r1", "main/home/r1"),
        ("/p/runs/r1/", "main/p/r1"),
        (" main/p/r1 ", "main/p/r1"),
        ("main/runs/runs/r1", "main/runs/r1"),
        ("team/q:r1", "team/q/r1"),
        ("r1", "main/home/r1"),
        ("a%2Fb/p/r%3A1", "a/b/p/r:1"),
    ],
)
def test_paths_of_runs_in_every_form(root: str, path: str, place: str) -> None:
    """API-4: also of a project that is called runs."""
    with pytest.raises(CommError, match="could not find run") as caught:
        Api({"project": "home", "base_url": f"{root}-none"}).run(path)
    assert place in str(caught.value)


def test_paths_of_what_is_no_run(root: str) -> None:
    """API-6."""
    made_run(root, "a/b", project="x y")
    api = Api()
    project = api.from_path("main/x%20y")
    assert isinstance(project, Project)
    assert project.name == "x y"
    assert api.from_path("main/x%20y/runs/a%2Fb").id == "a/b"
    with pytest.raises(Error, match="names a sweep") as caught:
        api.from_path("main/p/sweeps/s1")
    assert not isinstance(caught.value, CommError)
    for report in ("main/p/reports/My-Report", "main/p/reports/My-Report--none"):
        with pytest.raises(Error, match="report"):
            api.from_path(report)


def test_collections_are_kept_by_path_filter_and_order(root: str) -> None:
    """API-7."""
    api = Api()
    runs = api.runs("p", {"config.n": {"$gt": 1}}, order="-created_at")
    assert api.runs("main/p", {"config.n": {"$gt": 1}}, "-created_at", per_page=2) is runs
    others = [
        api.runs("p", {"config.n": {"$gt": 2}}, order="-created_at"),
        api.runs("p", {"config.n": {"$gt": 1}}),
        api.runs("q", {"config.n": {"$gt": 1}}, order="-created_at"),
    ]
    assert all(other is not runs for other in others)
    api.flush()
    assert api.runs("p", {"config.n": {"$gt": 1}}, order="-created_at") is not runs


def test_an_api_that_is_asked_for_ever_keeps_only_so_much(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-7: a dashboard asks with another time in the filter at each turn."""
    from tracker.apis.public import api as api_module

    monkeypatch.setattr(api_module, "_RUNS_KEPT_MAX", 20)
    api = Api()
    for n in range(50):
        newest = api.runs("p", {"config.n": {"$lt": n}})
        assert api.runs("p", {"config.n": {"$lt": n}}) is newest
        assert len(api._runs) <= 20


def test_the_collection_says_what_it_asks_for(root: str) -> None:
    """RUNS-1, RUNS-2: with the keywords of the reference's example, before anything is fetched."""
    filters = {"config.n": {"$in": [1, 2, 3]}}
    place: dict[str, Any] = {"client": Api().client, "entity": "main", "project": "p"}
    runs = Runs(**place, filters=filters, order="-config.n", per_page=2, include_sweeps=False)
    assert (runs.length, runs.more, runs.cursor, runs.objects) == (None, True, None, [])
    assert (runs.filters, json.loads(runs.variables["filters"]), runs.order) == (filters, filters, "-config.n")
    assert runs.variables["perPage"] == 2
    assert [run.id for run in runs] == ["r3", "r2", "r1"]
    assert (runs.length, runs.more, runs.cursor) == (3, False, "r1")
    assert Runs(Api().client, "main", "p", per_page=None).per_page == 50  # type: ignore[arg-type]
    assert [run.id for run in Api().runs(entity="main", project="p", filters=filters)] == ["r1", "r2", "r3"]


def test_slices_and_negative_positions_are_over_all_matches(root: str) -> None:
    """RUNS-4: whatever is loaded already."""
    for per_page in (1, 2, 100):

        def ids(found: Any) -> list[str]:
            return [run.id for run in found]

        runs = Api().runs("p", per_page=per_page)
        assert ids(runs[3:]) == ["r3", "r4"]
        assert runs[-2].id == "r3"
        assert (ids(runs[:2]), ids(runs[-2:]), ids(runs[::2]), ids(runs[::-1])) == (
            ["r0", "r1"],
            ["r3", "r4"],
            ["r0", "r2", "r4"],
            ["r4", "r3", "r2", "r1", "r0"],
        )
        assert (runs[5:], runs[2:2]) == ([], [])
        fresh = Api().runs("p", per_page=per_page)
        fresh[1:2]
        assert len(fresh.objects) == min(-(-2 // per_page) * per_page, 5), "no more pages than the slice needs"


def test_a_new_loop_begins_anew_for_next_too(root: str) -> None:
    """RUNS-5: at iter, not only once something was taken."""
    runs = Api().runs("p")
    assert [next(runs).id, next(runs).id] == ["r0", "r1"]
    iter(runs)
    assert next(runs).id == "r0"
    assert list(zip((run.id for run in runs), (run.id for run in runs), strict=True))[-1] == ("r4", "r4")


def test_every_page_is_asked_for_once(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNS-5: loaded pages are kept, and per_page is the size of what is loaded at once."""
    from tracker.apis.public import runs_pages

    asked: list[list[str]] = []
    load = runs_pages.load_runs

    def counted(snapshot: Any, ids: list[str]) -> Any:
        asked.append(list(ids))
        return load(snapshot, ids)

    monkeypatch.setattr(runs_pages, "load_runs", counted)
    runs = Api().runs("p", per_page=2)
    for _ in range(2):
        list(runs)
    assert asked == [["r0", "r1"], ["r2", "r3"], ["r4"]]
    assert runs_module.Runs is Runs


SERVER_FIELDS = """id tags name displayName sweepName state config group jobType commit readOnly createdAt heartbeatAt
    description notes systemMetrics summaryMetrics historyLineCount user historyKeys"""
ATTRIBUTES = """id name entity project path url state config rawconfig summary summary_metrics system_metrics tags notes
    description group job_type created_at heartbeat_at user username sweep sweep_name history_keys metadata
    read_only storage_id commit lastHistoryStep json_config dir"""


def test_every_field_in_both_spellings(root: str) -> None:
    """RUN-1, API-13."""
    run = Api().run("p/r1")
    for name in f"{SERVER_FIELDS} {ATTRIBUTES}".split():
        snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
        camel = run.snake_to_camel(name)
        values = [getattr(run, spelling) for spelling in (name, snake, camel)]
        assert repr(values[0]) == repr(values[1]) == repr(values[2]), name
    assert (run.historyLineCount, run.displayName, run.sweepName) == (1, "r1", None)
    with pytest.raises(AttributeError, match="'Run' object has no attribute 'displayNam'"):
        _ = run.displayNam
    assert not hasattr(run, "no_such_field")
    with pytest.raises(TypeError):
        _ = Api().runs("p")["r1"]  # type: ignore[call-overload]


def test_the_last_step_is_asked_of_the_store_each_time(root: str) -> None:
    """RUN-7: scripts wait for it."""
    writer = made_run(root, "live", [{"loss": 1.0}], state="crashed")
    run = Api().run("p/live")
    assert (run.lastHistoryStep, run.history_keys["lastStep"]) == (0, 0)
    writer.log({"loss": 2.0}).put()
    assert (run.lastHistoryStep, run.history_keys["lastStep"]) == (1, 0)
    run.load(force=True)
    assert (run.history_keys["lastStep"], run.historyLineCount) == (1, 2)


def test_who_made_the_run(root: str) -> None:
    """RUN-1: the name that it says, and what the root records under it."""
    made_run(root, "hers", attrs={"username": "ada"})
    run = Api().run("p/hers")
    assert (run.username, run.user.username, run.user.email) == ("ada", "ada", None)
    Api().create_user("ada@example.org")
    assert run.user.email == "ada@example.org"
    assert Api().run("p/r1").user is None


def test_the_run_is_built_from_what_the_reference_passes(root: str) -> None:
    """RUN-15: without attrs it is loaded, and a missing one is a ValueError."""
    api = Api()
    run = Run(client=api.client, entity="main", project="p", run_id="r1", attrs=None, include_sweeps=False)
    assert (run.config, run.load().run_id) == ({"n": 1}, "r1")
    with pytest.raises(ValueError, match="could not find run main/p/none"):
        Run(api.client, "main", "p", "none")
    assert tracker.Api is Api
