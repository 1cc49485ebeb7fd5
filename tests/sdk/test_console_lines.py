"""Lines from terminal output: CON-1 (carriage returns, cursor moves, colours, unicode), bounded whatever is printed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.sdk.console_lines import LINE_CHARS_MAX, REACH_MAX, SETTLE_S, LineFold, RawLines, printable

FOLDED = {
    "plain": ("one\ntwo\n", ["one", "two"]),
    "windows": ("one\r\ntwo\r\n", ["one", "two"]),
    "empty lines": ("\n\na\n\n", ["", "", "a", ""]),
    "no newline at the end": ("a\nb", ["a", "b"]),
    "a progress bar": ("".join(f"\r{n:3d}%|{'#' * n:5}|" for n in range(6)) + "\n", ["  5%|#####|"]),
    "a shorter text over a longer one": ("abcdef\rXY\n", ["XYcdef"]),
    "an erased line": ("abcdef\r\x1b[KXY\n", ["XY"]),
    "erased up to the cursor": ("abc\x1b[1Kd\n", ["   d"]),
    "a whole line erased": ("abc\x1b[2K\rd\n", ["d"]),
    "backspaces": ("10%\b\b\b20%\n", ["20%"]),
    "backspaces beyond the edge": ("\b\bab\n", ["ab"]),
    "tabs stay": ("a\tb\n", ["a\tb"]),
    "colours go": ("\x1b[1;31mred\x1b[0m and \x1b[38;5;12mblue\x1b[m\n", ["red and blue"]),
    "links and titles go": ("\x1b]0;title\x07\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\\n", ["text"]),
    "bells and nulls go": ("a\x07b\x00c\n", ["abc"]),
    "a cursor column": ("abcdef\x1b[3GX\x1b[2CY\n", ["abXdeY"]),
    "two bars": ("a 1\nb 1\n\x1b[2Aa 2\nb 2\n", ["a 2", "b 2"]),
    "two bars, tqdm's way": ("a 1\n\rb 1\x1b[A\ra 2\n\rb 2\x1b[A\ra 3\n\rb 3\n", ["a 3", "b 3"]),
    "a display that shrinks": ("x\ny\nz\n\x1b[3A\x1b[Jdone\n", ["done", "", ""]),
    "a cleared screen": ("old\n\x1b[2J\x1b[Hnew\n", ["old", "new"]),
    "unicode": ("ünï 😀 漢字\r→\n", ["→nï 😀 漢字"]),
    "an escape that never ends": ("a\x1b", ["a"]),
    "vertical tab and form feed": ("a\x0bb\x0cc\n", ["abc"]),
    "other line separators are no newlines": ("a\u2028b\x85c\n", ["a\u2028b\x85c"]),
}


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("at_once", [True, False])
def test_lines_are_what_the_terminal_shows(name: str, at_once: bool) -> None:
    """CON-1, however the text was cut on its way."""
    text, expected = FOLDED[name]
    fold = LineFold()
    for piece in [text] if at_once else text:
        fold.feed(piece)
    assert fold.end() == expected


@given(st.lists(st.sampled_from(["ab", "\n", "\r", "\b", "\x1b[A", "\x1b[2K", "\x1b[31m", "\t", "\x1b", "[", "é"])))
def test_how_the_text_was_cut_makes_no_difference(pieces: list[str]) -> None:
    whole, cut = LineFold(), LineFold()
    whole.feed("".join(pieces))
    for piece in "".join(pieces):
        cut.feed(piece)
    assert whole.open_text() == cut.open_text()
    assert whole.end() == cut.end()


@given(st.lists(st.text(alphabet="ab\n\té")))
def test_text_without_control_characters_is_kept_whole(pieces: list[str]) -> None:
    fold, given_out = LineFold(), list[str]()
    for n, piece in enumerate(pieces):
        fold.feed(piece)
        given_out += fold.take(float(n))
    assert "\n".join([*given_out, *fold.end()]) == "".join(pieces).removesuffix("\n")


def test_whole_lines_are_given_at_once_and_only_once() -> None:
    fold = LineFold()
    fold.feed("one\ntw")
    assert fold.take(0) == ["one"]
    assert fold.open_text() == "tw"
    fold.feed("o\n")
    assert fold.take(0) == ["two"]
    assert fold.end() == []


def test_a_display_of_several_lines_is_held_back_while_it_moves() -> None:
    fold = LineFold()
    fold.feed("log 1\nbar a 0%\nbar b 0%\n\x1b[2A")
    assert fold.take(0) == ["log 1"]
    for n in range(1, 10):
        fold.feed(f"bar a {n}%\nbar b {n}%\n\x1b[2A")
        assert fold.take(n) == []
    fold.feed("\x1b[Jlog 2\nbar a 10%\nbar b 10%\n")
    assert fold.take(10) == ["log 2"]
    assert fold.take(10 + SETTLE_S + 1) == ["bar a 10%", "bar b 10%"]


def test_what_is_held_back_has_a_bound() -> None:
    fold = LineFold()
    fold.feed("\x1b[999999A\x1b[999999999C!\n")
    fold.feed("line\n" * 1000)
    assert len(fold.take(0)) >= 1000 - REACH_MAX
    assert len(fold.open_text()) < 10_000


def test_a_line_without_end_is_cut() -> None:
    for lines in (LineFold(), RawLines()):
        total = 0
        for _ in range(50):
            lines.feed("x" * 5000)
            found = lines.take(0)
            assert all(len(line) <= LINE_CHARS_MAX for line in found)
            total += sum(map(len, found))
            assert len(lines.open_text()) <= LINE_CHARS_MAX
        assert total + sum(map(len, lines.end())) == 250_000
        lines.feed("y" * 200_000 + "\n")
        assert [len(line) for line in lines.take(0)] == [LINE_CHARS_MAX] * 3 + [200_000 - 3 * LINE_CHARS_MAX]


def test_raw_lines_are_kept_as_they_are() -> None:
    """`wrap_raw`"""
    raw = RawLines()
    raw.feed("\x1b[31m1%\r2%\x1b[0m\nnext")
    assert raw.take(0) == ["\x1b[31m1%\r2%\x1b[0m"]
    assert raw.end() == ["next"]


def test_noise_is_folded_without_trouble() -> None:
    chance = random.Random(4)
    for _ in range(200):
        fold = LineFold()
        alphabet = "ab\n\r\b\t\x1b[]0123456789;?ABCDEFGHJKmfhl\x07\\\x9b\udc80é"
        for _ in range(20):
            fold.feed("".join(chance.choices(alphabet, k=40)))
            fold.take(0)
        assert "\x1b" not in "".join(fold.end())


def test_bytes_that_were_no_text_are_written_out() -> None:
    assert printable("ok é") == "ok é"
    assert printable("bad \udc80!") == "bad \\udc80!"
