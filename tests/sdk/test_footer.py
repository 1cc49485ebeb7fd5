"""What a run prints when it begins and ends: FIN-6, CON-2. Nothing of it goes to stdout."""

from __future__ import annotations

import io
import math
import os
import pty
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tracker.sdk import finish_progress, term
from tracker.sdk.finish_progress import left_over, say_progress, shown_size
from tracker.sdk.sparkline import TEXT_MAX, shown_value, sparkline
from tracker.sdk.traces import KEYS_MAX, LOOKS_MAX, Traces


def said(text: str) -> list[str]:
    return [line.removeprefix("tracker:").removeprefix(" ") for line in text.splitlines()]


def test_the_end_shows_what_the_metrics_did_and_the_summary(start: Any, capsys: Any) -> None:
    """FIN-6"""
    run, _ = start()
    capsys.readouterr()
    for n in range(8):
        run.log({"loss": 7.0 - n, "deep": {"er": n}, "_hidden": n, "text": f"n{n}", "flag": True})
    run.summary["best"] = 0.123456789
    run.finish()
    out, err = capsys.readouterr()
    assert out == ""
    assert said(err) == [
        "",
        "run history:",
        "  deep.er ▁▂▃▄▅▆▇█",
        "  loss    █▇▆▅▄▃▂▁",
        "run summary:",
        "  best    0.123457",
        "  deep.er 7",
        "  flag    True",
        "  loss    0",
        "  text    n7",
        "",
        f"run {run.name} ended with exit code 0; its data is in {run.recorder.root}",
        f"look at it: tracker query {run.recorder.root} --project main/p",
    ]


def test_rows_with_steps_are_drawn_too(start: Any, capsys: Any) -> None:
    run, _ = start()
    for step in range(0, 90, 10):
        run.log({"x": step}, step=step)
    run.finish()
    assert "  x ▁▂▃▄▅▅▆▇█" in said(capsys.readouterr().err)


def test_a_run_without_figures_and_one_of_several_processes_say_little(
    start: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = start()
    run.finish()
    assert "run summary" not in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    run, _ = start(id="joint")
    run.log({"a": 1})
    run.finish()
    assert "run summary" not in capsys.readouterr().err


def test_a_long_summary_is_cut(start: Any, capsys: Any) -> None:
    run, _ = start()
    run.log({f"m{n:03d}": n for n in range(100)})
    run.finish()
    lines = said(capsys.readouterr().err)
    assert "  and 80 more" in lines
    assert len(lines) < 60


@pytest.mark.parametrize(("name", "shown"), [("silent", False), ("quiet", False), ("show_info", True)])
def test_quiet_and_silent_runs_say_nothing(start: Any, capsys: Any, name: str, shown: bool) -> None:
    """CON-2"""
    run, _ = start(settings={name: True})
    run.log({"a": 1})
    run.finish()
    out, err = capsys.readouterr()
    assert out == ""
    assert ("run summary" in err) is shown
    assert ("its data goes to" in err) is shown


def test_quiet_keeps_what_is_critical_and_silent_does_not(start: Any, capsys: Any) -> None:
    """CON-2"""
    for name, count in (("quiet", 1), ("silent", 0)):
        run, _ = start(settings={name: True})
        capsys.readouterr()
        term.warn("a warning")
        term.error("an error")
        assert capsys.readouterr().err.count("an error") == count
        run.finish()


def test_colours_and_emoji_are_settings(start: Any, capsys: Any) -> None:
    run, _ = start(settings={"show_colors": True, "show_emoji": True})
    err = capsys.readouterr().err
    assert f"\x1b[1;33m{run.name}\x1b[0m" in err
    assert "\U0001f680" in err
    run.finish(exit_code=1)
    assert "\u26a0" in capsys.readouterr().err
    run, _ = start()
    run.finish()
    err = capsys.readouterr().err
    assert "\x1b" not in err, "no terminal, no colours"
    assert "\U0001f680" not in err


def test_a_terminal_has_colours_unless_it_is_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        assert term.paint("x", "name") == "\x1b[1;33mx\x1b[0m"
        monkeypatch.setenv("NO_COLOR", "1")
        assert term.paint("x", "name") == "x"
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("TERM", "dumb")
        assert term.paint("x", "name") == "x"
    os.close(ours)


def test_a_terminal_without_unicode_gets_no_bars(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    run, _ = start(settings={"show_emoji": True})
    run.log({"a": 1})
    run.log({"a": 2})
    monkeypatch.setattr("sys.stderr", stream)
    run.finish()
    text = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "run summary:" in text
    assert "\\u" not in text


# -- the figures


def test_bars_follow_the_numbers() -> None:
    assert sparkline([]) == ""
    assert sparkline([1, 2, 3]) == "▁▅█"
    assert sparkline([5, 5]) == "▁▁"
    assert sparkline([-1.7e308, 0, 1.7e308]) == "▁▅█"
    assert len(sparkline(list(range(1000)))) == 40
    assert sparkline(list(range(1000)))[0] + sparkline(list(range(1000)))[-1] == "▁█"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1 + 0.2, "0.3"),
        (3, "3"),
        (math.nan, "nan"),
        (None, "None"),
        ([1, 2], "[1, 2]"),
        ({"_type": "image-file", "path": "x"}, "(image-file)"),
        ("two\nlines", "two lines"),
        ("x" * 100, "x" * (TEXT_MAX - 1) + "…"),
    ],
)
def test_values_of_the_summary_stand_on_a_line(value: Any, shown: str) -> None:
    assert shown_value(value) == shown


@pytest.mark.parametrize("rows", [1, 10, 100, 12_345])
def test_looks_are_few_and_evenly_spread(rows: int) -> None:
    traces, last, at, looks = Traces(), dict[str, Any](), 0, 0
    for row in range(rows):
        if row >= at:
            at = traces.look(last, row)
            looks += 1
        last["x"] = float(row)
    found = traces.of_key("x", last["x"])
    assert found[-1] == rows - 1
    assert len(found) <= LOOKS_MAX + 1
    assert looks <= LOOKS_MAX + 32 * max(0, math.log2(rows / LOOKS_MAX)) + 32
    gaps = {after - before for before, after in pairwise(found[:-1])}
    assert len(gaps) <= 1


def test_only_some_keys_are_looked_at_and_only_numbers_are_drawn() -> None:
    traces = Traces()
    last: dict[str, Any] = {"_step": 1, "text": "a", "flag": True, "late": None}
    traces.look(last, 1)
    last |= {f"k{n}": n for n in range(50)} | {"late": 1.0}
    traces.look(last, 2)
    last["k0"] = math.inf
    traces.look(last, 3)
    assert traces.keys(last) == ["late", *(f"k{n}" for n in range(KEYS_MAX - 1))]
    assert traces.of_key("k0", math.nan) == [0.0]
    assert traces.of_key("k1", "changed") == [1.0, 1.0]


# -- progress


class Sending:
    """Something that has not sent everything yet."""

    def __init__(self, folder: Path, waiting: int) -> None:
        self.spool_dir, self.next_seq, self.shipped_frames = folder, waiting, 0


def test_what_is_left_is_said_in_records_and_files(tmp_path: Path) -> None:
    sending = Sending(tmp_path, 1234)
    assert left_over(sending) == "1,234 records"
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(b"x" * 1500)
    assert left_over(sending) == "1,234 records and 1 file (1.5 KB)"
    sending.shipped_frames = 1233
    assert left_over(sending) == "1 record and 1 file (1.5 KB)"
    sending.shipped_frames = 1234
    (tmp_path / "blobs" / "a").unlink()
    assert left_over(sending) == ""
    assert left_over(SimpleNamespace(spool_dir=tmp_path / "none", next_seq=0, shipped_frames=0)) == ""


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (12_345, "12 KB"), (5.25e9, "5.2 GB"), (1e18, "1000000 TB")],
)
def test_sizes_are_short(size: float, shown: str) -> None:
    assert shown_size(size) == shown


def test_a_long_wait_shows_what_is_left_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(finish_progress, "_FIRST_S", 0.01)
    monkeypatch.setattr(finish_progress, "_EVERY_S", 0.01)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        sending = Sending(tmp_path, 5)
        with say_progress(sending):
            seen = os.read(ours, 100)
        assert seen.startswith(b"\r\x1b[Ktracker: sending the last data: 5 records left")
        while not seen.endswith(b"\r\x1b[K"):
            seen += os.read(ours, 100)
    os.close(ours)
    assert b"\n" not in seen


def test_a_file_gets_lines_and_a_short_wait_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with say_progress(Sending(tmp_path, 5)):
        assert "tracker-progress" in [thread.name for thread in threading.enumerate()]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(finish_progress, "_FIRST_S", 0.01)
    monkeypatch.setattr(finish_progress, "_EVERY_S", 0.01)
    with say_progress(Sending(tmp_path, 5)):
        threading.Event().wait(0.2)
    assert capsys.readouterr().err == "tracker: sending the last data: 5 records left\n"
    assert "tracker-progress" not in [thread.name for thread in threading.enumerate()]
