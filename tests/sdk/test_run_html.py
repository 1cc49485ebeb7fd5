"""Runs as HTML: NB-1, NAME-7. Nothing that a name or value holds becomes markup, nothing is loaded from elsewhere."""

from __future__ import annotations

import math
from typing import Any

from html_tags import EVIL, Tags

from tracker.sdk.html_page import cells_table, framed, page
from tracker.sdk.run_html import run_page


def test_names_and_values_stay_text() -> None:
    shown = run_page(
        EVIL, EVIL, EVIL, EVIL,
        series=[(EVIL, [1.0, 2.0])], summary=[(EVIL, EVIL)], config=[(EVIL, {EVIL: [EVIL]})], command=EVIL,
    )  # fmt: skip
    for whole in (shown, page(cells_table([EVIL], [[EVIL, None, 5]]))):
        found = Tags(whole)
        assert "script" not in found.tags
        assert "b" not in found.tags
        assert not any(name.startswith("on") or "://" in (value or "") for name, value in found.attributes)
        assert "alert(1)" in found.text


def test_a_frame_holds_the_page_unchanged_and_runs_nothing() -> None:
    whole = run_page(EVIL, "e/p/r", "/root", "running")
    frame = Tags(framed(whole, 99, False, EVIL))
    attributes = dict(frame.attributes)
    assert frame.tags == ["div", "iframe"]
    assert attributes["srcdoc"] == whole
    assert attributes["sandbox"] is None, "no script may run in it"
    assert "height:99px" in str(attributes["style"])
    assert Tags(framed(whole, 99, True, EVIL)).tags == ["details", "summary", "iframe"]


def test_curves_stay_inside_of_their_picture() -> None:
    for numbers in ([1.0], [0.0, 0.0], [-1.7e308, 1.7e308], [float(n) for n in range(100)]):
        found = Tags(run_page("n", "p", "r", "s", series=[("x", numbers)], summary=[("x", math.nan)]))
        points = [tuple(map(float, pair.split(","))) for pair in str(dict(found.attributes)["points"]).split()]
        assert len(points) == len(numbers)
        assert all(0 <= x <= 220 and 0 <= y <= 28 for x, y in points)


def test_a_run_that_goes_on_shows_what_it_has(start: Any) -> None:
    run, _ = start(config={"lr": 0.1, "deep": {"er": 1}})
    run.log({"loss": 2})
    run.log({"loss": 1})
    text = Tags(str(dict(Tags(run.to_html()).attributes)["srcdoc"])).text
    for part in (run.name, run.path, "running", "loss", "lr", "0.1"):
        assert part in text
    assert "<details>" in run.to_html(hidden=True)
    run.finish()
    assert "ended" in run.to_html()
