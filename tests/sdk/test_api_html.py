"""What public objects show in notebooks: RUN-14, PROJ-1, NB-1. Charts hold the numbers; what is shown stays text."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from pathlib import Path

import pytest
from html_tags import EVIL, Tags
from hypothesis import given, settings
from hypothesis import strategies as st
from store_maker import MadeWriter

import tracker
from tracker.apis.public import Api, Run
from tracker.sdk.svg_chart import HEIGHT, WIDTH, Series, line_chart, ticks
from tracker.storage.events import JsonText, join_path
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store


def inside(shown: str) -> Tags:
    """The page in the frame, which no script may run in and which loads nothing."""
    frame = Tags(shown)
    (page,) = frame.values("srcdoc")
    assert ("sandbox", None) in frame.attributes
    found = Tags(page)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert all(value.startswith("data:") for value in found.values("src"))
    assert not found.values("href")
    return found


@pytest.fixture
def api(tmp_path: Path) -> Api:
    """Runs r0, r1, r2 of e/p with some files; r2 logged nothing. Names and values try to be markup."""
    root = str(tmp_path / "root")
    store = open_store(root)
    for number in range(3):
        attrs = {"name": f"{EVIL}{number}", "tags": [EVIL], "notes": EVIL, "group": EVIL}
        writer = MadeWriter(store, RunRef("e", "p", f"r{number}"), number)
        writer.begin(attrs, {"lr": 0.1 * (number + 1), EVIL: EVIL, "same": 7})
        for step in range(30 if number < 2 else 0):
            loss = math.nan if step == 3 else 1 / (step + 1)
            once = {"only/one": number} if step == 0 else {}
            writer.log({"loss": loss, EVIL: step, "secret": step, "text": "x", "val": step % 7, "epoch": -step, **once})
        rules = {"secret": {"hidden": True}, "va*": {"step_metric": "epoch"}, "epoch": {"hidden": True}}
        writer.facts(*(("metric", join_path([name]), JsonText(json.dumps(said))) for name, said in rules.items()))
        writer.end()
    store.close()
    api = tracker.Api({"base_url": root, "entity": "e", "project": "p"})
    run = api.run("r0")
    for name, data in (("a.txt", EVIL.encode()), ("b.png", b"\x89PNG\r\n"), ("c.bin", b"\0" * 10), ("empty.txt", b"")):
        (tmp_path / name).write_bytes(data)
        run.upload_file(str(tmp_path / name), root=str(tmp_path))
    return api


def test_a_run_shows_its_values_and_charts_of_what_it_logged(api: Api) -> None:
    """RUN-14: `to_html(height, hidden)`; NaN is a gap; hidden metrics and single points have no chart."""
    run = api.run("r0")
    shown = run.to_html(height=333)
    assert "height:333px" in shown
    page = inside(shown)
    for part in (EVIL + "0", "e/p/r0", "finished", "lr", "0.1", "same", "only/one", run.url):
        assert part in page.text
    charts = page.values("aria-label")
    assert charts == ["loss", EVIL, "val over epoch"], "not what is hidden"
    lines = page.values("points")
    assert len(lines) == 4, "the loss has a gap"
    assert sum(len(line.split()) for line in lines) == 29 + 30 + 30
    assert "-20" in page.text, "the x axis of the last"
    assert run.to_html(hidden=True).startswith("<details>")
    assert run._repr_html_() == run.to_html()
    assert run.display() is False, "this is no notebook"


def test_differs_what_objects_show_needs_no_network(api: Api) -> None:
    """RUN-14: the page itself instead of a frame that loads one, also of files."""
    for thing in (api.run("r0"), api.project("p"), api.run("r0").file("a.txt")):
        frame = Tags(thing.to_html())
        assert not frame.values("src")
        assert frame.values("srcdoc")


def test_a_run_without_history_has_no_charts(api: Api) -> None:
    page = inside(api.run("r2").to_html())
    assert "svg" not in page.tags
    assert "lr" in page.text


def test_a_chart_that_cannot_be_read_is_left_out(api: Api, tmp_path: Path) -> None:
    """The rest of the page is there, and the reason."""
    run = api.run("r0")
    shutil.rmtree(tmp_path / "root")
    page = inside(run.to_html())
    assert "left out: could not find project e/p" in page.text
    assert "same" in page.text


def test_a_collection_shows_its_runs_and_common_charts(api: Api) -> None:
    """Config that is the same in all runs is left out; a colour stands for each run that is drawn."""
    page = inside(api.runs(order="+name").to_html())
    assert "e/p" in page.text
    assert "3 runs" in page.text
    for number in range(3):
        assert f"{EVIL}{number}" in page.text
        assert f"r{number}" in page.text
    head = html.unescape(page_of(api.runs(order="+name").to_html())).split("</thead>")[0]
    heads = re.findall(r"<th>(.*?)</th>", head)
    assert "lr" in heads
    assert "same" not in heads
    assert "loss" in heads
    assert page.values("class").count("dot") == 3
    strokes = [value for value in page.values("stroke") if value]
    assert len(set(strokes)) == 2, "two runs logged something"
    none = inside(api.runs(filters={"state": "failed"}).to_html())
    assert "0 runs" in none.text
    assert "table" not in none.tags


def page_of(shown: str) -> str:
    return Tags(shown).values("srcdoc")[0]


def test_of_many_runs_the_first_are_shown(api: Api, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    for number in range(30):
        MadeWriter(store, RunRef("e", "many", f"n{number:02}"), number).begin({}, {"n": number}).end()
    store.close()
    page = inside(api.runs("many").to_html())
    assert "30 runs, the first 25 shown" in page.text
    assert "n24" in page.text
    assert "n25" not in page.text


def test_projects_files_and_the_api_show_what_they_are(api: Api) -> None:
    """PROJ-1; of pictures and texts also what is in them."""
    assert "Newest runs" in inside(api.project("p").to_html()).text
    assert "0 runs" in inside(api.project("nothing").to_html()).text
    assert "p" in inside(api.projects().to_html()).text
    listing = inside(api.run("r0").files().to_html()).text
    files = {file.name: file for file in api.run("r0").files()}
    assert set(files) >= {"a.txt", "b.png", "c.bin", "empty.txt"}
    for name in files:
        assert name in listing
    assert EVIL in inside(files["a.txt"].to_html()).text
    assert files["a.txt"].to_html(200, True).startswith("<details>")
    (picture,) = inside(files["b.png"].to_html()).values("src")
    assert picture == "data:image/png;base64,iVBORw0K"
    assert "pre" not in inside(files["c.bin"].to_html()).tags
    assert "empty.txt" in inside(files["empty.txt"].to_html()).text
    assert api.client.base_url in inside(api._repr_html_()).text


def test_what_cannot_be_shown_says_so_instead_of_failing(api: Api) -> None:
    """`to_html` raises; what a notebook asks for itself tells the reason."""
    runs = api.runs("nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        runs.to_html()
    assert "could not find project e/nowhere" in inside(runs._repr_html_()).text


FLOATS = st.floats(width=64)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(FLOATS, max_size=12), max_size=3), st.booleans())
def test_charts_stay_inside_of_their_picture(columns: list[list[float]], banded: bool) -> None:
    """Whatever the numbers: every finite one is drawn, once, and nothing leaves the axes."""
    series = []
    for values in columns:
        band = (values, values) if banded else ()
        series.append(Series("s", [float(n) for n in range(len(values))], values, *band))
    finite = sum(math.isfinite(value) for values in columns for value in values)
    shown = line_chart(EVIL, series)
    if not finite:
        assert shown == ""
        return
    page = Tags(shown)
    assert page.values("aria-label") == [EVIL]
    points = [pair for line, tag in lines_of(shown) if tag == "polyline" for pair in line.split()]
    dots = list(zip(page.values("cx"), page.values("cy"), strict=True))
    assert len(points) + len(dots) == finite
    for x, y in [tuple(map(float, pair.split(","))) for pair in points] + [(float(x), float(y)) for x, y in dots]:
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def lines_of(shown: str) -> list[tuple[str, str]]:
    return [(points, tag) for tag, points in re.findall(r'<(polyline|polygon) points="([^"]*)"', shown)]


@settings(max_examples=300, deadline=None)
@given(FLOATS, FLOATS, st.integers(2, 6))
def test_ticks_are_few_round_numbers_within(one: float, other: float, count: int) -> None:
    low, high = min(one, other), max(one, other)
    if not (math.isfinite(low) and math.isfinite(high)):
        return
    found = ticks(low, high, count)
    assert 1 <= len(found) <= count + 1
    slack = abs(high) * 1e-9 + abs(low) * 1e-9
    assert all(math.isfinite(value) and low - slack <= value <= high + slack for value in found)
    assert found == sorted(found)


def test_ticks_are_those_that_people_write() -> None:
    assert ticks(0, 1, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(3, 399, 4) == [100, 200, 300]
    assert ticks(5, 5) == [5]


def test_a_notebook_is_shown_the_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN-14: `display()` is true where something can show it."""
    shown: list[str] = []
    monkeypatch.setattr("tracker.sdk.notebook.in_notebook", lambda: True)
    monkeypatch.setattr("tracker.sdk.notebook.show_html", lambda text: not shown.append(text))
    run = api.run("r0")
    assert isinstance(run, Run)
    assert run.display(height=99, hidden=True) is True
    assert shown == [run.to_html(99, True)]
