"""`tracker diff` and `tracker log`."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import Tracker
from store_builder import write_run

from tracker.cli.run_address import RunAddress, parse_address
from tracker.storage.edits import EditWriter, delete_edit
from tracker.storage.errors import UsageError
from tracker.storage.stores import open_store


@pytest.fixture
def root(tmp_path: Path) -> str:
    url = str(tmp_path / "store")
    write_run(url, "a", config={"lr": 0.1, "opt": "adam"}, rows=[{"loss": 1.0}, {"loss": 0.5}])
    write_run(url, "b", config={"lr": 0.2, "new": [1]}, rows=[{"loss": 1.0}, {"loss": 0.4}])
    return url


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The run a in another root, project and entity."""
    url = str(tmp_path / "other")
    config = {"lr": 0.1, "opt": "adam"}
    write_run(url, "a", entity="e", project="q", config=config, rows=[{"loss": 1.0}, {"loss": 0.5}])
    return url


def test_the_exit_code_says_whether_runs_differ(root: str, tracker: Tracker) -> None:
    """As diff(1): 0 the same, 1 different, more: it cannot be told."""
    same = tracker("diff", "a", "a", "--url", root)
    assert (same.code, same.out) == (0, "")
    assert "no differences in config, summary" in same.err
    assert tracker("diff", "a", "b", "--url", root).code == 1
    quiet = tracker("diff", "a", "b", "--url", root, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (1, "", "")
    assert tracker("diff", "a", "nope", "--url", root).code == 3
    assert tracker("diff", "a", "a", "--url", root, "--keys", "los").code == 2, "a misspelt metric is not the same"
    assert tracker("diff", "a", "b", "--url", root, "--sections", "confg").code == 2
    assert tracker("diff", "a", "b", "--url", f"{root}/nowhere").code == 3


def test_what_goes_wrong_never_looks_like_a_difference(
    root: str, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("tracker.query.diff_side.load_runs", broken)
    done = tracker("diff", "a", "b", "--url", root)
    assert (done.code, done.out) == (2, "")
    assert "error[bug]: RuntimeError: a bug" in done.err


def test_what_differs_is_printed_by_section(root: str, tracker: Tracker) -> None:
    assert tracker("diff", "a", "b", "--url", root).out.splitlines() == [
        f"--- {root}#main/digits/a  (name of a, finished)",
        f"+++ {root}#main/digits/b  (name of b, finished)",
        "",
        "config: 3 differences",
        "  ~ lr   0.1 -> 0.2",
        "  + new  [1]",
        '  - opt  "adam"',
        "",
        "summary: 1 difference",
        "  ~ loss  0.5 -> 0.4",
        "",
        "metrics: 1 difference",
        "  metric  first step    a    b  differing  only a  only b  max difference",
        "  loss             1  0.5  0.4          1       0       0             0.1",
    ]


def test_colours_are_for_terminals(root: str, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in tracker("diff", "a", "b", "--url", root).out
    monkeypatch.setattr("tracker.cli.diff_command.coloured", lambda: True)
    out = tracker("diff", "a", "b", "--url", root).out
    assert "\x1b[31m  - opt" in out
    assert "\x1b[32m  + new" in out


def test_json_has_every_difference(root: str, tracker: Tracker) -> None:
    done = tracker("diff", "a", "b", "--url", root, "--json", "--sections", "metrics,config")
    assert done.code == 1
    found = json.loads(done.out)
    assert list(found) == ["a", "b", "equal", "config", "metrics"]
    assert (found["a"], found["equal"]) == ("main/digits/a", False)
    assert found["config"][0] == {"path": "lr", "change": "changed", "a": 0.1, "b": 0.2}
    assert found["metrics"][0]["key"] == "loss"
    same = json.loads(tracker("diff", "a", "a", "--url", root, "--json", "--patch").out)
    assert same["equal"]
    assert same["patch"] == ""


def test_tolerances_and_patterns(root: str, tracker: Tracker) -> None:
    arguments = ("diff", "a", "b", "--url", root, "--ignore", "config.new", "-i", "config.opt", "-q")
    assert tracker(*arguments).code == 1
    assert tracker(*arguments, "--rtol", "0.5").code == 0
    assert tracker(*arguments, "--atol", "0.05").code == 1
    assert tracker("diff", "a", "b", "--url", root, "--rtol", "-1").code == 2


def test_runs_of_two_roots(root: str, other: str, tracker: Tracker) -> None:
    assert tracker("diff", f"{root}#a", f"{other}#e/q/a").code == 0
    assert tracker("diff", "b", f"{other}#a", "--url", root, "-q").code == 1
    assert tracker("runs", "diff", "digits/a", "main/digits/a", "--url", root).code == 0


def test_rows_side_by_side(root: str, tracker: Tracker, tmp_path: Path) -> None:
    done = tracker("diff", "a", "b", "--url", root, "--rows", "--format", "csv")
    assert done.code == 0
    assert done.out.splitlines() == ["_step,a.loss,b.loss,difference.loss", "0,1,1,0", "1,0.5,0.4,-0.09999999999999998"]
    file = tmp_path / "rows.jsonl"
    assert tracker("diff", "a", "b", "--url", root, "--rows", "--output", str(file)).out == ""
    assert json.loads(file.read_text().splitlines()[0])["a.loss"] == 1.0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("r", RunAddress("u", "e", "p", "r")),
        ("q/r", RunAddress("u", "e", "q", "r")),
        ("f/q/r", RunAddress("u", "f", "q", "r")),
        ("/f/q/runs/r", RunAddress("u", "f", "q", "r")),
        ("s3://b/x#f/q/r", RunAddress("s3://b/x", "f", "q", "r")),
        ("dir#r", RunAddress("dir", "e", "p", "r")),
        ("a%2Fb%23c", RunAddress("u", "e", "p", "a/b#c")),
        ("runs", RunAddress("u", "e", "p", "runs")),
    ],
)
def test_addresses_of_runs(text: str, address: RunAddress) -> None:
    """API-4, with the root before it."""
    assert parse_address(text, "u", "p", "e") == address


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "a//b", "#r", "dir#"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no run"):
        parse_address(text)


def test_the_log_tells_who_did_what_and_when(
    root: str, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_USERNAME", "eve")
    writer = EditWriter(open_store(root), "main", "digits")
    writer.write([("config", "a", "lr", 0.3), ("attr", "a", "notes", "why\x1b[31m")])
    lines = tracker("log", "a", "--url", root).out.splitlines()
    assert lines[0].startswith("2025-10-09 08:53:20Z  node")
    assert lines[0].endswith("started  began (pid 1)")
    assert next(line for line in lines if "eve@" in line).split()[3:] == ["fields"]
    assert '    + notes  "why\\u001b[31m"' in lines
    assert "    ~ lr  0.1 -> 0.3" in lines
    assert any("ended as finished, exit code 0" in line for line in lines)
    writer.write(delete_edit("a"))
    assert tracker("log", "a", "--url", root).out.splitlines()[-1].endswith("deleted the run")
    for command in (("runs", "show", "a", root), ("diff", "a", "b", "--url", root)):
        done = tracker(*command)
        hint = 'error[not-found]: Run "a" is deleted. See: tracker log, tracker runs restore\n'
        assert (done.code, done.err) == (3, hint)


def test_the_log_for_programs_and_its_filters(root: str, tracker: Tracker) -> None:
    found = json.loads(tracker("log", "a", "--url", root, "--json").out)
    assert [event["kind"] for event in found] == ["started", "fields", "config", "ended"]
    assert list(found[0]) == ["time", "kind", "text", "by", "user", "host", "writer", "life", "changes"]
    lines = tracker("log", "a", "--url", root, "--jsonl", "--kinds", "rows,ended").records()
    assert [event["kind"] for event in lines] == ["rows", "ended"]
    (last,) = tracker("log", "a", "--url", root, "--jsonl", "--last", "1").records()
    assert last["kind"] == "ended"
    assert tracker("log", "a", "--url", root, "--until", "2025-10-09").out == ""
    assert tracker("log", "a", "--url", root, "--since", "2025-10-10").out == ""
    assert len(tracker("log", f"{root}#a", "--since", "2025-10").out.splitlines()) > 3


def test_a_log_that_cannot_be_told(root: str, tracker: Tracker) -> None:
    assert tracker("log", "nope", "--url", root).code == 3
    assert "There are no events of kind 'x'" in tracker("log", "a", "--url", root, "--kinds", "x").err
    assert tracker("log", "a", "--url", root, "--since", "yesterday").code == 2


def test_many_changes_are_cut_unless_all_are_asked_for(tmp_path: Path, tracker: Tracker) -> None:
    url = str(tmp_path / "store")
    write_run(url, "a", config={f"k{n:02}": n for n in range(30)})
    assert "    ... and 22 more (--full shows all)" in tracker("log", "a", "--url", url).out
    full = tracker("log", "a", "--url", url, "--full").out
    assert "    + k29  29" in full
    assert "    + exit_code  0" in full


def test_the_commands_do_without_pandas(root: str) -> None:
    code = """
        import sys
        from tracker.cli.main import main
        sys.argv = ["tracker", "diff", "a", "b", "--url", sys.argv[1]]
        try:
            main()
        except SystemExit as end:
            print(end.code, "pandas" in sys.modules)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), root], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "1 False", done.stderr
