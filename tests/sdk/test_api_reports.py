"""Saved reports as the public Api lists them: REP-1, REP-2, API-6, API-9, and what they show in notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from store_maker import MadeWriter

import tracker
from tracker.apis.public import Api, BetaReport, Project, Reports
from tracker.errors import Error
from tracker.query.reports import KIND_REPORT
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store
from tracker.storage.things import set_changes, thing_writer

RUN_SET = {
    "filters": {"op": "OR", "filters": [{"op": "AND", "filters": [
        {"op": "=", "key": {"section": "config", "name": "opt"}, "value": "adam", "disabled": False},
    ]}]},
    "sort": {"keys": [{"key": {"section": "summary", "name": "acc"}, "ascending": False}]},
    "selections": {"root": 1, "bounds": [], "tree": ["c"]},
}  # fmt: skip
SPEC = {
    "version": 5,
    "blocks": [
        {"type": "heading", "level": 1, "children": [{"text": "Findings <b>"}]},
        {"type": "paragraph", "children": [{"text": "It "}, {"type": "link", "children": [{"text": "works"}]}]},
        {"type": "list", "children": [{"type": "list-item", "children": [{"text": "one"}]}]},
        {"type": "code-block", "children": [{"children": [{"text": "x = 1"}]}, {"children": [{"text": "y = 2"}]}]},
        {"type": "panel-grid", "metadata": {"openRunSet": 1, "runSets": [{"filters": "n == 5"}, RUN_SET]}},
        {"type": "horizontal-rule"},
    ],
}


def write_run(url: str, run_id: str, config: dict[str, Any], acc: float, project: str = "p") -> None:
    store = open_store(url)
    writer = MadeWriter(store, RunRef("e", project, run_id)).begin({"name": run_id}, config)
    writer.log({"acc": acc}).end()
    store.close()


def save(url: str, report_id: str, project: str = "p", **fields: Any) -> None:
    store = open_store(url)
    spec = fields.pop("spec", SPEC)
    tree = {"name": f"view-{report_id}", "type": "runs", "user": "ada", "spec": json.dumps(spec), **fields}
    thing_writer(store, "e", project, KIND_REPORT, report_id).write(set_changes(tree))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Runs a, b, c with adam and d with sgd; reports R1 (a title), R2 and a draft."""
    url = str(tmp_path / "root")
    for run_id, acc in (("a", 0.5), ("b", 0.9), ("c", 0.7)):
        write_run(url, run_id, {"opt": "adam", "n": 5 if run_id == "b" else 1}, acc)
    write_run(url, "d", {"opt": "sgd", "n": 5}, 0.1)
    save(url, "R1", display_name="My title", description="What we saw")
    save(url, "R2", display_name="Other")
    save(url, "R3", display_name="Draft", type="runs/draft")
    return url


@pytest.fixture
def api(url: str) -> Api:
    return tracker.Api({"base_url": url, "entity": "e", "project": "p"})


def test_reports_of_a_project_are_listed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """REP-1, API-9: lazy, the last saved first, without drafts; by name or title."""
    reports = api.reports("e/p", per_page=1)
    assert isinstance(reports, Reports)
    assert (reports.length, reports.more, reports.cursor) == (None, True, None), "nothing is fetched yet"
    assert [report.display_name for report in reports] == ["Other", "My title"]
    assert (len(reports), reports.length, reports.more, reports.cursor) == (2, 2, False, "R1")
    assert [report.id for report in reports[0:2]] == ["R2", "R1"]
    assert reports[-1].id == "R1"
    assert [report.id for report in reports.convert_objects()] == ["R2", "R1"]
    with pytest.raises(IndexError):
        reports[2]
    again = api.reports()
    assert next(again).id == "R2"
    assert again.next().id == "R1"
    with pytest.raises(StopIteration):
        next(again)
    assert [report.id for report in api.reports("p", name="view-R1")] == ["R1"]
    assert [report.id for report in api.reports("p", name="My title")] == ["R1"]
    assert len(api.reports("p", name="nothing")) == 0
    assert repr(again) == "<Reports e/p>"
    assert reports.variables["reportCursor"] == "R1"


def test_a_report_has_these_attributes(api: Api) -> None:
    """REP-1; API-13: in either spelling."""
    report = api.reports(name="My title")[0]
    assert isinstance(report, BetaReport)
    assert (report.id, report.name, report.display_name) == ("R1", "view-R1", "My title")
    assert (report.description, report.user, report.spec) == ("What we saw", "ada", SPEC)
    assert report.displayName == report.display_name
    assert report.updatedAt == report.updated_at
    assert str(report.updated_at).endswith("Z")
    assert str(report.created_at) <= str(report.updated_at)
    assert report.url.endswith("/e/p/reports/My-title--R1")
    assert report.sections == [SPEC["blocks"][4]["metadata"]]  # type: ignore[index]
    with pytest.raises(AttributeError, match=r"BetaReport.*nothing"):
        _ = report.nothing


def test_an_older_report_has_panel_groups() -> None:
    groups = [{"name": "g", "runSets": [{}]}]
    assert BetaReport(None, {"spec": json.dumps({"panelGroups": groups})}).sections == groups  # type: ignore[arg-type]
    assert BetaReport(None, {}).sections == []  # type: ignore[arg-type]


def test_a_section_shows_its_runs(api: Api) -> None:
    """REP-1: the open run set, in its order; only what is selected, unless asked otherwise."""
    report = api.reports(name="My title")[0]
    (section,) = report.sections
    assert [run.id for run in report.runs(section)] == ["b", "a"]
    assert [run.id for run in report.runs(section, only_selected=False)] == ["b", "c", "a"]
    assert [run.id for run in report.runs({**section, "openRunSet": 0})] == ["b", "d"], "REP-2: n is in the config"
    for wrong in ({}, {**section, "openRunSet": 2}, {"runSets": [{"filters": "n = 5"}]}):
        with pytest.raises(ValueError, match=r"run sets|filter"):
            report.runs(wrong)


def test_a_run_set_may_be_of_another_project(api: Api, url: str) -> None:
    write_run(url, "elsewhere", {"other": 1}, 0.3, project="q")
    section = {"runSets": [{"project": {"entityName": "e", "name": "q"}, "filters": "other == 1"}]}
    assert [run.id for run in api.reports()[0].runs(section)] == ["elsewhere"]


def test_an_unknown_project_is_a_value_error(api: Api) -> None:
    """REP-1."""
    with pytest.raises(ValueError, match="e/nowhere"):
        list(api.reports("nowhere"))
    with pytest.raises(ValueError, match="e/nowhere"):
        len(Reports(api.client, Project(api.client, "e", "nowhere", {})))


def test_a_project_without_reports_has_none(api: Api, url: str) -> None:
    write_run(url, "x", {}, 0.0, project="q")
    assert list(api.reports("q")) == []


def test_a_path_names_a_report(api: Api) -> None:
    """API-6: what stands behind `--`; a name with `-` but no `--` is an Error."""
    report = api.from_path("e/p/reports/My-title--R1")
    assert (report.id, report.display_name) == ("R1", "My title")
    assert api.from_path(report.url.removeprefix(api.client.url_of("") + "/")).id == "R1"
    assert api.from_path("e/p/reports/R3").display_name == "Draft"
    for wrong in ("e/p/reports/My-title-R1", "e/p/reports/x--R9"):
        with pytest.raises(Error, match=r"report"):
            api.from_path(wrong)


def test_reports_of_a_time_gone_by(api: Api, url: str) -> None:
    """A report is shown as it was; the newest words win now."""
    (before,) = api.reports(name="My title")
    save(url, "R1", display_name="New title")
    assert [report.display_name for report in api.reports()] == ["New title", "Other"]
    then = tracker.Api({"base_url": url, "entity": "e", "project": "p"}, as_of=str(before.updated_at))
    assert "My title" in [report.display_name for report in then.reports()]


def test_a_deleted_report_is_gone_and_a_broken_one_left_out(api: Api, url: str, capsys: Any) -> None:
    """What somebody changes who did not know of the deletion brings nothing back."""
    store = open_store(url)
    writer = thing_writer(store, "e", "p", KIND_REPORT, "R1")
    writer.delete()
    writer.write([("display_name", "Half of it")])
    thing_writer(store, "e", "p", KIND_REPORT, "R2").write([("spec", "{broken")])
    assert list(api.reports()) == []
    assert "R2" in capsys.readouterr().err


def test_a_report_shows_its_text_and_its_runs(api: Api) -> None:
    """Self-contained, and nothing of it becomes markup."""
    report = api.reports(name="My title")[0]
    shown = report._page()
    for part in ("My title", "What we saw", "Findings &lt;b&gt;", "It works", "<li>one</li>", "x = 1\ny = 2", "2 runs"):
        assert part in shown
    assert shown.index("It works") < shown.index("2 runs")
    assert "height:1024px" in report.to_html()
    assert report.to_html(hidden=True).startswith("<details>")
    listing = api.reports()._page()
    assert "2 reports" in listing
    assert "My title" in listing
    broken = BetaReport(api.client, {"spec": {"panelGroups": [{"runSets": [{"filters": "a ="}]}]}}, "e", "p")
    assert "runs are left out" in broken._page()


def test_differs_a_selection_may_leave_out_runs(api: Api) -> None:
    """Root 1 means all but those that are listed, as the run table has it; root 0 those alone."""
    report = api.reports(name="My title")[0]
    everything = {"selections": {"root": 1, "tree": []}}
    assert len(report.runs({"runSets": [everything]})) == 4
    some = {"selections": {"root": 1, "tree": ["a", "b"]}}
    assert [run.id for run in report.runs({"runSets": [some]})] == ["c", "d"]
    assert [run.id for run in report.runs({"runSets": [{"selections": {"root": 0, "tree": ["a"]}}]})] == ["a"]


def test_reports_of_several_roots_are_one_listing(api: Api, url: str, tmp_path: Path) -> None:
    """A report that was saved in two of them shows once, as it was saved last."""
    other = str(tmp_path / "other")
    write_run(other, "z", {"n": 5}, 0.2)
    save(other, "R9", display_name="Elsewhere")
    save(other, "R1", display_name="Saved again")
    both = tracker.Api({"entity": "e", "project": "p"}, roots=[url, other])
    assert [report.display_name for report in both.reports()] == ["Saved again", "Elsewhere", "Other"]
    section = {"runSets": [{"filters": "n == 5"}]}
    assert [run.id for run in both.reports()[0].runs(section)] == ["b", "d", "z"]
