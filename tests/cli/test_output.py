"""Data goes to stdout or into a file that appears whole; talk goes to stderr; bars only where somebody watches."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tracker.cli import exit_codes
from tracker.cli.formats import FORMATS, Answer
from tracker.cli.output import check_output, write_answer
from tracker.cli.talk import progress_bar, warn
from tracker.cli.text_table import text_table
from tracker.storage import errors

TABLE = pa.table({"id": ["a", "b"]})
ANSWER = Answer(lambda: TABLE, TABLE.to_pylist)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")

    def breaks() -> pa.Table:
        raise errors.StorageUnavailable("gone")

    with pytest.raises(errors.StorageUnavailable):
        write_answer(Answer(breaks, list), FORMATS["csv"], target)
    assert target.read_text() == "old"
    write_answer(ANSWER, FORMATS["csv"], target)
    assert target.read_text().splitlines() == ["id", "a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"wrote {target}\n")


@pytest.mark.parametrize("output", ["missing/a.csv", "."])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(output: str, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="Cannot write"):
        check_output(FORMATS["csv"], tmp_path / output)


@pytest.mark.parametrize("name", FORMATS)
def test_binary_data_is_not_sent_to_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    if FORMATS[name].binary:
        with pytest.raises(errors.UsageError, match=r"--output answer\."):
            check_output(FORMATS[name], None)
    else:
        check_output(FORMATS[name], None)


def test_on_a_terminal_columns_that_do_not_fit_are_named_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    drawn = "\n".join(text_table(pa.table({f"column_{n}": ["some value"] for n in range(9)})))
    text = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    assert text != drawn
    assert "column_2" in text
    assert "column_3" not in text
    assert max(map(len, text.splitlines())) <= 40
    assert (
        "6 columns do not fit: column_3, column_4, column_5, column_6, column_7 and 1 more." in capsys.readouterr().err
    )


def test_progress_is_silent_without_a_terminal_and_drawn_on_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar() as progress:
        progress("parts", 1, 2)
    warn("something")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "warning: something\n")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar() as progress:
        progress("parts", 1, 2)
        progress("parts", 2, 2)
    assert "parts" in screen.getvalue()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), exit_codes.USAGE),
        (errors.NotFound("x"), exit_codes.NOT_FOUND),
        (errors.StorageUnavailable("x"), exit_codes.UNAVAILABLE),
        (errors.CredentialsMissing("x"), exit_codes.UNAVAILABLE),
        (errors.CorruptData("x"), exit_codes.DAMAGED),
        (errors.FormatTooNew("x"), exit_codes.DAMAGED),
        (errors.KeyTaken("x"), exit_codes.FAILED),
        (RuntimeError("x"), exit_codes.FAILED),
    ],
)
def test_exit_codes_say_what_to_do_next(error: Exception, code: int) -> None:
    assert exit_codes.exit_code_of(error) == code
    wrapped = RuntimeError("as the public Api wraps it")
    wrapped.exc = error  # type: ignore[attr-defined]
    assert exit_codes.exit_code_of(wrapped) == code
