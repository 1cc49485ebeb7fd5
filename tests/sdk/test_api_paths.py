"""Api: settings, paths, caching, errors. Rules API-1..4, 6..8, 12, 13."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_maker import made_run

import tracker
from tracker.apis.public import Api, Project, Run, Runs
from tracker.errors import CommError, Error


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    made_run(url, "r1", [{"loss": 1.0}])
    made_run(url, "r2", [{"loss": 2.0}], project="uncategorized")
    made_run(url, "r3", [{"loss": 3.0}], entity="team", project="q")
    return url


def test_settings_come_from_overrides_then_the_environment(
    root: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """API-1, API-2."""
    api = tracker.Api()
    assert {name: api.settings[name] for name in ("entity", "project", "run", "base_url")} == {
        "entity": "main",
        "project": None,
        "run": None,
        "base_url": root,
    }
    assert (api.default_entity, api.api_key, api.timeout) == ("main", None, 19)
    assert api.user_agent.startswith("tracker/")
    assert api.client.base_url == root
    monkeypatch.setenv("TRACKER_ENTITY", "team")
    monkeypatch.setenv("WANDB_PROJECT", "q")
    assert Api().run("r3").summary["loss"] == 3.0
    given = Api({"entity": "e", "project": "p", "run": "r", "organization": "o"}, timeout=5, api_key="k")
    assert [given.settings[name] for name in ("entity", "project", "run", "organization")] == ["e", "p", "r", "o"]
    assert (given.timeout, given.api_key) == (5, "k")
    assert capsys.readouterr().err == ""
    assert Api({"username": "old"}).default_entity == "old"
    assert "deprecated" in capsys.readouterr().err
    with pytest.raises(Error, match="Unknown overrides: entitty"):
        Api({"entitty": "x"})


def test_a_login_names_the_root(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKER_BASE_URL")
    from tracker.sdk.login import store_base_url

    store_base_url(root)
    assert tracker.Api().run("p/r1").id == "r1"


@pytest.mark.parametrize(
    ("path", "shown"),
    [(None, "main/uncategorized"), ("p", "main/p"), ("team/q", "team/q"), ("/team/q/", "team/q")],
)
def test_project_paths(root: str, path: str | None, shown: str) -> None:
    """API-3."""
    runs = Api().runs(path)
    assert repr(runs) == f"<Runs {shown}>"
    assert len(runs) == 1


def test_the_default_project_is_an_override(root: str) -> None:
    """API-3."""
    assert Api({"project": "p"}).runs().project == "p"


@pytest.mark.parametrize(
    "path",
    ["main/p/r1", "/main/p/r1/", "main/p/runs/r1", "main/p:r1", "p/r1", "p/runs/r1", "p:r1"],
)
def test_run_paths(root: str, path: str) -> None:
    """API-4."""
    assert repr(Api().run(path)) == "<Run main/p/r1 (finished)>"


def test_run_paths_with_defaults(root: str) -> None:
    """API-4."""
    assert Api({"project": "p"}).run("r1").path == ["main", "p", "r1"]
    assert Api({"project": "p", "run": "r1"}).run().id == "r1"
    assert Api().run("r2").project == "uncategorized"


def test_a_runs_own_path_finds_it(root: str) -> None:
    """RUN-2: path is URL-quoted."""
    made_run(root, "a b", project="x y")
    run = Api().run("x y/a b")
    assert run.path == ["main", "x%20y", "a%20b"]
    assert Api().run("/".join(run.path)).id == "a b"


def test_from_path(root: str) -> None:
    """API-6."""
    api = Api()
    project = api.from_path("p")
    assert isinstance(project, Project)
    assert (project.entity, project.name, project.path) == ("main", "p", ["main", "p"])
    assert api.from_path("team/q").entity == "team"
    for path in ("main/p/r1", "main/p/runs/r1", "main/p/run/r1"):
        run = api.from_path(path)
        assert isinstance(run, Run)
        assert run.id == "r1"
    for path in ("main/p/things/r1", "a/b/c/d/e", ""):
        with pytest.raises(Error, match="names no project and no run"):
            api.from_path(path)


def test_results_are_kept_until_flush(root: str) -> None:
    """API-7."""
    api = Api()
    runs, run = api.runs("p"), api.run("p/r1")
    assert api.runs("main/p") is runs
    assert api.run("main/p/r1") is run
    assert api.runs("p", filters={"state": "finished"}) is not runs
    assert api.runs("p", order="-created_at") is not runs
    assert len(runs) == 1
    made_run(root, "new")
    assert len(api.runs("p")) == 1
    api.flush()
    assert len(api.runs("p")) == 2
    assert api.run("p/r1") is not run


def test_a_run_is_refreshed_by_load(root: str) -> None:
    """API-7, RUN-15."""
    writer = made_run(root, "live", [{"loss": 1.0}], state="crashed")
    run = Api().run("p/live")
    assert run.summary["loss"] == 1.0
    writer.log({"loss": 0.5}).put()
    run.load()
    assert run.summary["loss"] == 1.0
    run.load(force=True)
    assert run.summary["loss"] == 0.5


def test_foreign_exceptions_of_wrapped_calls_become_comm_errors(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-8."""
    run = Api().run("p/r1")
    boom = RuntimeError("the moon is down")
    monkeypatch.setattr(type(run.client), "snapshot", lambda *_: (_ for _ in ()).throw(boom))
    with pytest.raises(CommError, match=r"^the moon is down$") as caught:
        run.history()
    assert caught.value.exc is boom
    with pytest.raises(RuntimeError, match="the moon is down"):
        len(Api().runs("p"))


@pytest.mark.parametrize("path", ["p/none", "none/r1", "nobody/p/r1", "a/b/c/d", ""])
def test_a_missing_run(root: str, path: str) -> None:
    """API-12, API-8: a CommError that is a ValueError, with one in .exc."""
    with pytest.raises(CommError, match="could not find run") as caught:
        Api().run(path)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value.exc, ValueError)


@pytest.mark.parametrize("path", ["none", "nobody/p", "a/b/c"])
def test_a_missing_project(root: str, path: str) -> None:
    """API-12, RUNS-6: at the first fetch, by name."""
    with pytest.raises(ValueError, match=path):
        len(Api().runs(path))


def test_a_missing_root(tmp_path: Path) -> None:
    runs = Api({"base_url": str(tmp_path / "nowhere")}).runs("p")
    with pytest.raises(ValueError, match=r"could not find project main/p: There is no directory .*nowhere"):
        list(runs)
    assert list(Api({"base_url": str(tmp_path / "nowhere")}).projects()) == []


def test_attributes_in_both_spellings(root: str) -> None:
    """API-13."""
    run = Api().run("p/r1")
    assert run.summaryMetrics == run.summary_metrics
    assert run.createdAt == run.created_at
    assert run.last_history_step == run.lastHistoryStep == 0
    assert run.snake_to_camel("display_name_x") == "displayNameX"
    runs = Api().runs("p")
    assert runs.perPage == 50
    for owner, name in ((run, "Run"), (runs, "Runs")):
        with pytest.raises(AttributeError, match=f"'{name}' object has no attribute 'no_such_thing'"):
            _ = owner.no_such_thing
    with pytest.raises(TypeError):
        _ = run["id"]  # type: ignore[index]


def test_projects_of_an_entity(root: str) -> None:
    """PROJ-1, API-9."""
    projects = Api().projects()
    assert [project.name for project in projects] == ["p", "uncategorized"]
    assert [projects[0].name, projects[-1].name] == ["p", "uncategorized"]
    assert next(Api().projects("team")).path == ["team", "q"]
    with pytest.raises(ValueError, match="not known"):
        len(projects)
    assert repr(Api().project("q", "team")) == "<Project team/q>"
    assert Api().project("q", "team").url.endswith("/team/q")
    assert list(Api().projects("nobody")) == []


def test_html_and_display_outside_of_notebooks(root: str) -> None:
    """RUN-14."""
    run = Api().run("p/r1")
    assert "main/p/r1" in run.to_html()
    assert "finished" in run.to_html()
    assert "height:99px" in run.to_html(height=99)
    assert run.to_html(hidden=True).startswith("<details>")
    assert run.display() is False


def test_the_constructors_of_the_listing_classes(root: str) -> None:
    """RUNS-2: also as the reference's example passes them."""
    api = Api()
    runs = Runs(client=api.client, entity="main", project="p", filters={"state": "finished"}, order=None)
    assert [run.id for run in runs] == ["r1"]
    assert [run.id for run in api.runs(client=api.client, entity="team", project="q")] == ["r3"]
    assert Run(api.client, "team", "q", "r3").summary["loss"] == 3.0
    with pytest.raises(TypeError, match="unexpected keyword argument 'filter'"):
        api.runs("p", filter={})


def test_importing_the_api_is_lazy() -> None:
    import subprocess
    import sys

    code = "import sys, tracker; print('duckdb' in sys.modules); tracker.Api; print('duckdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
