"""Projects and runs that are made before anybody logs to them. Rules API-2, API-9, API-10, PROJ-1, RUNS-6."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter, made_run

import tracker
from tracker.apis.public import Api, Run
from tracker.apis.public.projects import Projects
from tracker.errors import StorageUnavailable, UsageError
from tracker.query.projects import find_projects
from tracker.sdk import resume
from tracker.storage.fold import SILENT_US
from tracker.storage.names import ENTITY_PROJECT, RunRef
from tracker.storage.stores import open_store
from tracker.storage.things import ThingWriter


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    monkeypatch.setenv("TRACKER_SILENT", "true")
    return url


# projects


def test_a_project_that_was_made_shows_without_runs(store_url: str) -> None:
    """API-10, PROJ-1, RUNS-6: no runs are an empty answer, no project is an error."""
    api = Api({"base_url": store_url})
    assert api.create_project("new one", "main") is None
    made_run(store_url, "r", project="old")
    assert [project.name for project in api.projects()] == ["new one", "old"]
    assert len(api.runs("new one")) == 0
    assert list(api.runs("main/new one")) == []
    assert api.runs("new one").histories() == []
    with pytest.raises(ValueError, match="could not find project main/nope"):
        len(api.runs("nope"))
    api.create_project("new one", "main")
    store = open_store(store_url)
    assert len([info for info in store.list("main/new!20one/") if "/things/" in info.key]) == 1
    store.close()


def test_every_question_to_a_project_without_runs_has_an_empty_answer(root: str) -> None:
    api = Api()
    api.create_project("empty", "main")
    runs = api.runs("empty", {"config.lr": {"$gt": 1}}, order="-summary_metrics.loss")
    assert (len(runs), runs[:], runs.more, runs.histories()) == (0, [], False, [])
    assert runs.histories(format="pandas").shape == (0, 0)
    assert runs.histories(format="polars").shape == (0, 0)
    assert api.runs("empty").buckets(["loss"]) == []
    assert [frame.shape[0] for frame in (runs.to_arrow(), runs.to_pandas(), runs.to_polars())] == [0, 0, 0]
    assert api.sql("SELECT count(*) AS n FROM runs", "empty", format="dicts") == [{"n": 0}]
    assert api.sql("SELECT * FROM history", "main/empty", format="dicts") == []
    assert "0 runs" in api.project("empty").to_html()
    made_run(root, "r", [{"a": 1}])
    assert api.sql("SELECT count(*) AS n FROM runs", "main/*", format="dicts") == [{"n": 1}]


def test_a_project_is_there_with_its_first_run(root: str) -> None:
    Api().create_run(project="p")
    assert [project.name for project in Api().projects()] == ["p"]


def test_a_project_says_when_it_was_made_or_first_logged_to(root: str) -> None:
    """PROJ-1."""
    api = Api()
    api.create_project("made", "main")
    made_run(root, "later", project="logged", start_us=T0 + 60_000_000)
    made_run(root, "first", project="logged", start_us=T0)
    assert api.project("logged").created_at == "2026-09-21T14:13:20Z"
    assert api.project("logged").createdAt == "2026-09-21T14:13:20Z"
    made = api.project("made").created_at
    made_run(root, "r", project="made", start_us=T0)
    assert api.project("made").created_at == made
    with pytest.raises(ValueError, match="could not find project main/nope"):
        _ = api.project("nope").created_at


def test_a_project_has_an_id_a_path_an_address_and_html(root: str) -> None:
    """PROJ-1."""
    Api().create_project("a b", "main")
    project = Api().project("a b")
    assert (project.name, project.entity, project.id) == ("a b", "main", "main/a!20b")
    assert project.path == ["main", "a%20b"]
    assert project.url == f"file://{root}/main/a!20b"
    assert "main/a b" in project.to_html()
    assert project.display() is False
    assert repr(project) == "<Project main/a b>"


def test_names_that_are_none_or_the_stores_own_are_refused(root: str) -> None:
    for name, entity in ((ENTITY_PROJECT, "main"), ("a/b", "main"), ("p", "x" * 200)):
        with pytest.raises(UsageError):
            Api().create_project(name, entity)
    for call in (
        lambda: tracker.init(project=ENTITY_PROJECT),
        lambda: Api().create_run(project=ENTITY_PROJECT),
        lambda: Api().create_run(project="p", run_id="a/b"),
    ):
        with pytest.raises(UsageError):
            call()
    assert not Path(root).exists()


def test_the_project_of_the_entitys_own_things_is_in_no_listing(root: str) -> None:
    ThingWriter(open_store(root), "main", ENTITY_PROJECT, "user", "x").write([("username", "x")])
    made_run(root, "r")
    assert [project.name for project in Api().projects()] == ["p"]
    store = open_store(root)
    assert [name.project for name in find_projects(store)] == ["p"]
    assert [name.project for name in find_projects(store, reserved=True)] == [ENTITY_PROJECT, "p"]


def test_the_past_can_have_no_new_projects_and_shows_those_of_its_time(root: str) -> None:
    api = Api()
    api.create_project("early", "main")
    early = api.client.things("main", "early", "project")["early"]
    made_run(root, "r", project="p")
    past = Api(as_of=early.created_us / 1e6 - 1)
    for call in (lambda: past.create_project("x", "main"), lambda: past.create_run(project="x")):
        with pytest.raises(UsageError, match="past"):
            call()
    with pytest.raises(ValueError, match="could not find project"):
        len(past.runs("early"))
    assert len(Api(as_of=early.created_us / 1e6 + 1e-6).runs("early")) == 0


@pytest.mark.parametrize("per_page", [1, 2, 3, 50, None])
def test_projects_are_listed_page_by_page_and_the_pages_change_nothing(root: str, per_page: int | None) -> None:
    """RUNS-5 for projects; `len` is refused (PROJ-1)."""
    store = open_store(root)
    for number in range(5):
        made_run(store, "r", project=f"p{number}")
    store.put_if_absent("main/p2!20no/blobs/ab/cd", b"x")  # no project
    names = [f"p{number}" for number in range(5)]
    projects = Projects(Api().client, "main", per_page)
    assert (projects.more, projects.cursor, projects.length) == (True, None, None)
    assert [project.name for project in projects] == names
    assert [project.name for project in projects] == names, "each iteration begins anew"
    assert (projects.more, projects.cursor) == (False, "p4")
    projects = Projects(Api().client, "main", per_page)
    assert next(projects).name == "p0"
    assert projects.next().name == "p1"
    assert projects.more is (per_page in (1, 2, 3))
    assert projects[3].name == "p3"
    assert projects[-1].name == "p4"
    assert [project.name for project in projects[1:3]] == ["p1", "p2"]
    assert next(projects).name == "p2"
    assert {project.name for project in projects.convert_objects()} <= set(names)
    assert projects.variables["cursor"] == "p4"
    with pytest.raises(IndexError):
        projects[5]
    with pytest.raises(ValueError, match="not known before"):
        len(projects)


def test_only_the_pages_that_are_asked_for_are_listed(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    for number in range(30):
        made_run(store, "r", project=f"p{number:02d}")
    client = Api().client
    asked: list[str] = []
    real = client.store.list_dirs
    monkeypatch.setattr(client.store, "list_dirs", lambda prefix: asked.append(prefix) or real(prefix))
    projects = Projects(client, "main", 10)
    assert asked == []
    assert projects[3].name == "p03"
    assert len(asked) == 11
    assert projects[29].name == "p29"
    assert len(asked) == 31


# runs


def test_a_run_that_was_made_is_running_and_belongs_to_the_user(store_url: str, monkeypatch: Any) -> None:
    """API-2."""
    monkeypatch.setenv("TRACKER_USERNAME", "ann")
    api = Api({"base_url": store_url, "project": "p"})
    run = api.create_run()
    assert (run.state, run.entity, run.project, run.username) == ("running", "main", "p", "ann")
    assert len(run.id) == 8
    assert run.name.endswith(f"-{run.id[:4]}")
    assert (run.config, run.lastHistoryStep, run.tags) == ({}, -1, [])
    assert [one.id for one in api.runs()] == [run.id]
    named = Run.create(api, run_id="mine", project="q", entity="team")
    assert named.path == ["team", "q", "mine"]
    assert api.create_run(run_id="deliberate", project="uncategorized").id == "deliberate"
    assert Api({"base_url": store_url}).create_run().project == "uncategorized"


def test_a_run_that_is_there_is_returned_as_it_is(root: str) -> None:
    made_run(root, "r", [{"a": 1}], config={"lr": 1})
    run = Api().create_run(run_id="r", project="p")
    assert (run.state, run.config) == ("finished", {"lr": 1})
    first = Api().create_run(run_id="s", project="p")
    assert Api().create_run(run_id="s", project="p").created_at == first.created_at


def test_after_a_deletion_the_same_id_is_a_run_of_its_own(root: str) -> None:
    made_run(root, "r", [{"a": 1}], config={"lr": 1})
    Api().run("p/r").delete()
    run = Api().create_run(run_id="r", project="p")
    assert (run.state, run.config, run.lastHistoryStep) == ("running", {}, -1)


@pytest.mark.parametrize("mode", ["allow", "must"])
def test_a_session_goes_on_with_a_run_that_was_made(root: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-2. What was changed meanwhile stays, and the machine is the session's."""
    monkeypatch.setenv("TRACKER_HOST", "gpu-7")
    made = Api().create_run(project="p")
    made.name, made.config["lr"] = "renamed", 0.1
    made.update()
    with tracker.init(project="p", id=made.id, resume=mode) as run:
        assert run.resumed
        run.log({"loss": 1.0})
    after = Api().run(f"p/{made.id}")
    assert (after.state, after.name, after.config) == ("finished", "renamed", {"lr": 0.1})
    assert (after.created_at, after.host) == (made.created_at, "gpu-7")
    assert [row["loss"] for row in after.scan_history()] == [1.0]
    assert len(Api().runs("p")) == 1


def test_without_resume_the_run_begins_anew(root: str) -> None:
    made = Api().create_run(project="p")
    made.config["lr"] = 0.1
    made.update()
    with tracker.init(project="p", id=made.id) as run:
        run.log({"loss": 1.0})
    assert Api().run(f"p/{made.id}").config == {}


def test_never_refuses_a_run_that_was_made(root: str) -> None:
    made = Api().create_run(project="p")
    with pytest.raises(UsageError, match="resume='never'"):
        tracker.init(project="p", id=made.id, resume="never")


def test_a_made_run_that_a_job_goes_on_with_ends_as_the_job_does(root: str) -> None:
    """Its maker is no rank of the job; silent for long, it must not leave the run crashed."""
    made = Api().create_run(run_id="r", project="p")
    start_us = made._loaded.created_at_us + 10 * SILENT_US
    rank = MadeWriter(open_store(root), RunRef("main", "p", "r"), 1, start_us, opens=False, rank="0").begin()
    rank.log({"loss": 1.0}).end()
    for find in (lambda: Api().run("p/r"), lambda: Api().runs("p")[0]):
        assert find().state == "finished"


def test_those_who_make_one_run_at_once_make_one_life_of_it(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both looked before either wrote."""
    from tracker.apis.public import run_create

    monkeypatch.setattr(run_create, "load_runs", lambda snapshot, run_ids: [])
    for _ in range(2):
        run = Api().create_run(run_id="r", project="p")
    run.load(force=True)
    assert run._loaded.generations == 1
    monkeypatch.setattr(resume, "_ask", lambda *_: None)  # so did a session that means to resume it
    with tracker.init(project="p", id="r", resume="allow") as session:
        session.log({"a": 1})
    assert Api().run("p/r")._loaded.generations == 1
    assert Api().run("p/r").state == "finished"


def test_a_made_run_cannot_be_asked_to_stop(root: str) -> None:
    with pytest.raises(UsageError, match="no process writes it"):
        Api().create_run(project="p").stop()


def test_a_store_that_is_away_makes_nothing_and_says_so(s3_faults: Any) -> None:
    api = Api({"base_url": s3_faults.url, "project": "p"}, timeout=1)
    s3_faults.proxy.set_faults({"mode": "err_before", "status": 503, "method": "PUT"})
    with pytest.raises(StorageUnavailable):
        api.create_run(run_id="r")


def test_another_process_goes_on_with_it(root: str) -> None:
    made = Api().create_run(project="p")
    code = "import sys, tracker; tracker.init(project='p', id=sys.argv[1], resume='must').log({'a': 1})"
    subprocess.run([sys.executable, "-c", code, made.id], check=True, env=os.environ, timeout=60)
    assert Api().run(f"p/{made.id}").summary["a"] == 1
