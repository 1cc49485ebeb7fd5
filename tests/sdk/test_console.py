"""Console capture in the process: CON-1, CON-3, FIN-8, RES-8, SET-6. The terminal shows what it would show without."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tracker.sdk import console
from tracker.sdk.console import ConsoleCapture
from tracker.sdk.console_blocks import BLOCK_CHARS_MAX
from tracker.sdk.console_file import PART_BYTES_MAX, ConsoleFile

Said = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_CONSOLE", "wrap")


@pytest.fixture
def said() -> Said:
    return []


@pytest.fixture
def capture(said: Said) -> Any:
    """Starts captures that write into `said`, and stops them."""
    begun: list[ConsoleCapture] = []

    def begin(**options: Any) -> ConsoleCapture:
        def write(cells: dict[str, str], time_us: int) -> None:
            assert abs(time_us / 1e6 - time.time()) < 60
            said.extend(cells.items())

        begun.append(ConsoleCapture(write, **options))
        begun[-1].start()
        return begun[-1]

    yield begin
    for one in begun:
        one.stop(0)


def lines(said: Said, stream: str) -> list[str]:
    return [line for key, text in said if key == stream for line in text.split("\n")]


def test_both_streams_are_kept_in_order(start: Any, capsys: Any) -> None:
    """CON-1"""
    run, writer = start()
    print("one")
    print("two", file=sys.stderr)
    print("thr", end="")
    print("ee", "é 😀")
    sys.stdout.writelines(["four\n", "five"])
    run.finish()
    assert writer.printed()[:2] == [("stdout", "one"), ("stderr", "two")]
    assert writer.printed()[2:] == [("stdout", "three é 😀\nfour"), ("stdout", "five")]
    out, err = capsys.readouterr()
    assert out == "one\nthree é 😀\nfour\nfive"
    assert "two\n" in err
    print("afterwards")
    assert len(writer.printed()) == 4


def test_the_lines_become_a_file_of_the_run(start: Any) -> None:
    """CON-1: output.log"""
    run, _ = start()
    for percent in range(0, 101, 20):
        sys.stderr.write(f"\r{percent}%")
    print("\nend")
    assert run.recorder.options.console == "wrap"
    path = Path(run.dir, "output.log")
    run.recorder.services.hurry()
    assert path.read_text() == "\nend\n"
    run.finish()
    assert path.read_text() == "\nend\n100%\n"


def test_off_keeps_nothing_and_touches_nothing(start: Any) -> None:
    write = sys.stdout.write
    run, writer = start(settings={"console": "off"})
    assert sys.stdout.write == write
    print("x")
    run.finish()
    assert writer.printed() == []
    assert not Path(run.dir, "output.log").exists()


def test_raw_mode_keeps_control_characters(start: Any) -> None:
    run, writer = start(settings={"console": "wrap_raw"})
    print("\x1b[31m1%\r2%\x1b[0m")
    run.finish()
    assert writer.printed() == [("stdout", "\x1b[31m1%\r2%\x1b[0m")]


def test_the_streams_stay_the_same_objects_and_are_given_back(start: Any) -> None:
    out, err = sys.stdout, sys.stderr
    before = dict(vars(out))
    run, _ = start()
    assert (sys.stdout, sys.stderr) == (out, err)
    run.finish()
    assert vars(out) == before
    assert "write" not in vars(err)


def test_whoever_holds_the_stream_already_is_heard(start: Any) -> None:
    handler = logging.StreamHandler(sys.stderr)
    logger = logging.Logger("training")
    logger.addHandler(handler)
    run, writer = start()
    logger.warning("from logging")
    run.finish()
    assert ("stderr", "from logging") in writer.printed()


def test_a_label_stands_behind_the_stream(start: Any) -> None:
    """SET-6"""
    run, writer = start(mode="shared", settings={"x_label": "node.1", "x_primary": False})
    print("x")
    run.finish()
    assert writer.printed() == [("stdout.node\\.1", "x")]
    assert not Path(run.dir, "output.log").exists(), "only the primary writer has files"


def test_several_threads_lose_nothing(said: Said, capture: Any) -> None:
    def talk(name: int) -> None:
        for n in range(500):
            sys.stdout.write(f"{name} {n}\n")

    one = capture()
    threads = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.stop(0)
    found = lines(said, "stdout")
    for name in range(4):
        assert [line for line in found if line.startswith(f"{name} ")] == [f"{name} {n}" for n in range(500)]


def test_long_output_comes_in_blocks_of_bounded_size(said: Said, capture: Any) -> None:
    one = capture()
    text = "".join(f"line {n}\n" for n in range(50_000))
    sys.stdout.write(text)
    sys.stdout.write("y" * 3 * BLOCK_CHARS_MAX)
    one.stop(0)
    assert all(len(block) <= BLOCK_CHARS_MAX for _, block in said)
    assert lines(said, "stdout")[:50_000] == text.splitlines()
    assert "".join(lines(said, "stdout")[50_000:]) == "y" * 3 * BLOCK_CHARS_MAX


def test_streams_that_take_turns_very_often_make_few_points(said: Said, capture: Any) -> None:
    one = capture()
    for n in range(5000):
        sys.stdout.write(f"o{n}\n")
        sys.stderr.write(f"e{n}\n")
    one.stop(0)
    assert lines(said, "stdout") == [f"o{n}" for n in range(5000)]
    assert lines(said, "stderr") == [f"e{n}" for n in range(5000)]
    assert len(said) < 500


def test_printing_faster_than_can_be_kept_is_counted(
    said: Said, capture: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(console, "_WAITING_CHARS_MAX", 10_000)
    monkeypatch.setattr(console, "_SOON_CHARS", 1 << 30)
    one = capture()
    for _ in range(10):
        sys.stdout.write("x" * 1999 + "\n")
    one.stop(0)
    kept = "".join(lines(said, "stdout")).count("x")
    assert 5 * 1999 <= kept <= 7 * 1999
    assert f"[{20_000 - kept - kept // 1999:,} characters were printed too fast to be kept]" in lines(said, "stderr")
    assert capsys.readouterr().out.count("x") == 19_990, "the terminal shows everything"


def test_an_unfinished_line_is_kept_now_and_then(said: Said, capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_PAUSE_S", 0.01)
    monkeypatch.setattr(console, "_OPEN_FIRST_S", 0.05)
    one = capture()
    one._open_wait_s = 0.05
    sys.stderr.write("\r10%")
    deadline = time.monotonic() + 5
    while not said and time.monotonic() < deadline:
        time.sleep(0.02)
    assert said == [("stderr_open", "10%")]
    sys.stderr.write("\r100%\n")
    one.stop(0)
    assert said == [("stderr_open", "10%"), ("stderr", "100%")]


def test_a_dying_process_keeps_what_was_printed(said: Said, capture: Any) -> None:
    one = capture()
    print("whole")
    print("half", end="")
    one.hurry()
    assert said == [("stdout", "whole"), ("stdout_open", "half")]
    one.stop(0)
    assert said[2:] == [("stdout", "half")]


def test_a_signal_handler_may_print(said: Said, capture: Any) -> None:
    def handler(signum: int, frame: Any) -> None:
        print("from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    one = capture()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for n in range(20_000):
            sys.stderr.write(f"{n}\n")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    one.stop(0)
    assert lines(said, "stderr") == [str(n) for n in range(20_000)]
    assert "from the handler" in lines(said, "stdout")


@pytest.mark.parametrize("stream", [None, io.StringIO, object])
def test_any_stream_will_do(
    said: Said, capture: Any, monkeypatch: pytest.MonkeyPatch, stream: type[object] | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream() if stream is not None else None)
    one = capture()
    print("x", file=sys.stderr)
    if isinstance(sys.stdout, io.StringIO):
        print("y")
        assert sys.stdout.getvalue() == "y\n"
    one.stop(0)
    assert ("stderr", "x") in said


def test_a_closed_stream_raises_what_it_raised_before(capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    one = capture()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        sys.stdout.write("x")
    with pytest.raises(TypeError):
        sys.stderr.write(5)  # type: ignore[arg-type]
    one.stop(0)


def test_somebody_who_wrapped_us_is_not_disturbed(said: Said, capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    first = capture()
    second = capture()
    print("a")
    first.stop(0)  # in the wrong order
    print("b")
    second.stop(0)
    print("c")
    assert stream.buffer.getvalue() == b"a\nb\nc\n"  # type: ignore[attr-defined]
    assert lines(said, "stdout") == ["a", "a", "b"]


def test_a_stream_that_is_replaced_meanwhile_stays_replaced(said: Said, capture: Any) -> None:
    """As pytest, rich and contextlib.redirect_stdout do it."""
    one = capture()
    original, elsewhere = sys.stdout, io.StringIO()
    sys.stdout = elsewhere
    try:
        print("not shown")
        one.stop(0)
        assert sys.stdout is elsewhere
    finally:
        sys.stdout = original
    assert said == []
    assert "write" not in vars(original)


def test_bars_of_other_libraries_look_as_they_do_and_are_one_line(said: Said, capture: Any) -> None:
    from rich.console import Console
    from rich.progress import Progress

    screen = io.StringIO()
    terminal = Console(file=sys.stderr, force_terminal=True, width=60)
    one = capture()
    original = sys.stderr.write
    sys.stderr.write = lambda text: (screen.write(text), original(text))[1]  # type: ignore[method-assign]
    with Progress(console=terminal, auto_refresh=False) as progress:
        task = progress.add_task("work", total=10)
        other = progress.add_task("more", total=10)
        for _ in range(10):
            progress.advance(task)
            progress.advance(other)
            progress.refresh()
            progress.console.print("step")
    del sys.stderr.write
    one.stop(0)
    found = lines(said, "stderr")
    assert found.count("step") == 10
    assert sum(line.startswith("work") for line in found) == 1
    assert next(line for line in found if line.startswith("work")).rstrip().split()[-2] == "100%"
    assert "\x1b[" in screen.getvalue()


# -- the file


def test_parts_are_rolled_and_handed_over(tmp_path: Path) -> None:
    """CON-3"""
    put: list[tuple[str, str, int]] = []
    parts = ConsoleFile(
        tmp_path,
        lambda path, name, policy: put.append((name, policy, path.stat().st_size)),
        parts=True,
        now_s=lambda: 1_790_000_000.0,
    )
    for _ in range(3):
        parts.add("x" * (PART_BYTES_MAX // 2))
    parts.close()
    assert [name for name, _, _ in put] == ["logs/output_20260921_141320.log", "logs/output_20260921_141320_2.log"]
    assert [size for _, _, size in put] == [PART_BYTES_MAX + 2, PART_BYTES_MAX // 2 + 1]
    assert {policy for _, policy, _ in put} == {"now"}


def test_a_session_that_goes_on_has_a_part_of_its_own(tmp_path: Path) -> None:
    """RES-8: nothing old is lost."""
    put: list[str] = []
    part = ConsoleFile(tmp_path, lambda _, name, __: put.append(name), goes_on=True, label="a b", now_s=lambda: 0.0)
    part.add("x")
    part.close()
    assert put == ["logs/output_19700101_000000_a_b.log"]
    silent = ConsoleFile(tmp_path, lambda _, name, __: put.append(name), goes_on=True)
    silent.close()
    assert len(put) == 1, "nothing printed, no file"


def test_a_disk_that_takes_no_file_is_named_once(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "files").write_text("in the way")
    file = ConsoleFile(tmp_path / "files", lambda *_: pytest.fail("nothing to keep"))
    file.add("x")
    file.add("y")
    file.close()
    assert capsys.readouterr().err.count("output.log can not be written") == 1


# -- whole processes


def child(code: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of its own; returns when all its output is there."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    root = {"TRACKER_BASE_URL": str(tmp_path / "root"), "TRACKER_CONSOLE": "wrap", "PYTHONPATH": ""}
    return subprocess.run(
        [sys.executable, str(script)],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | root | environment, timeout=60,
    )  # fmt: skip


def stored(tmp_path: Path) -> list[tuple[str, str]]:
    """(stream, line) of what the runs below the root printed."""
    import tracker

    (run,) = tracker.Api(overrides={"base_url": str(tmp_path / "root")}).runs("main/p")
    return [(row["stream"], row["text"]) for row in run.console()]


def test_an_uncaught_exception_is_in_the_output(tmp_path: Path) -> None:
    """FIN-8"""
    done = child(
        """
        import tracker
        run = tracker.init(project="p", settings={"quiet": True})
        print("begun")
        raise ValueError("böse")
        """,
        tmp_path,
    )
    assert done.returncode == 1
    assert done.stdout == "begun\n"
    found = stored(tmp_path)
    assert found[0] == ("stdout", "begun")
    assert [text for stream, text in found if stream == "stderr"] == done.stderr.splitlines()
    assert found[-1] == ("stderr", "ValueError: böse")


def test_a_process_that_goes_without_goodbye_is_not_held_up(tmp_path: Path) -> None:
    """os._exit in the middle of printing, a closed stdout, a child by fork: what is shown stays what it was."""
    done = child(
        """
        import os, sys
        import tracker
        run = tracker.init(project="p", settings={"quiet": True})
        print("parent", flush=True)
        if os.fork() == 0:
            print("child", flush=True)
            os._exit(0)
        os.wait()
        sys.stdout.close()
        print("still here", file=sys.stderr)
        os._exit(3)
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "parent\nchild\n", "still here\n")


def test_sigterm_keeps_the_last_lines(tmp_path: Path) -> None:
    done = child(
        """
        import os, signal, time
        import tracker
        run = tracker.init(project="p", settings={"quiet": True})
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
        """,
        tmp_path,
    )
    assert done.returncode == -signal.SIGTERM
    assert stored(tmp_path) == [("stdout", "last words")]
