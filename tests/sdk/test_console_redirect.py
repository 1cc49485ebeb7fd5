"""`console="redirect"`: CON-1 for C libraries and child processes. The terminal shows what it would show without."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import tracker
from tracker.sdk.console_redirect import redirect
from tracker.sdk.console_tee import PART_BYTES, Copy

BEGIN = """
import ctypes, os, signal, subprocess, sys, time
import tracker
run = tracker.init(project="p", settings={"quiet": True, "console": os.environ.get("MODE", "redirect")})
"""


def script(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(BEGIN + textwrap.dedent(code))
    return [sys.executable, "-X", "faulthandler", str(path)]


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    root = {"TRACKER_BASE_URL": str(tmp_path / "root"), "PYTHONPATH": ""}
    return {name: value for name, value in os.environ.items() if name != "TRACKER_CONSOLE"} | root | more


def child(tmp_path: Path, code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Returns when all output is there."""
    return subprocess.run(
        script(tmp_path, code),
        text=True, cwd=tmp_path, env=environment(tmp_path), timeout=60, check=False,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more),
    )  # fmt: skip


def in_terminal(tmp_path: Path, code: str, mode: str) -> tuple[int, bytes]:
    """Exit code, and all that a terminal of 50 columns is sent."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
    process = subprocess.Popen(
        script(tmp_path, code), stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True,
        env=environment(tmp_path, MODE=mode),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and select.select([ours], [], [], 30)[0]:
        try:
            seen += os.read(ours, 1 << 16)
        except OSError:  # everybody has closed it
            break
    os.close(ours)
    return process.wait(30), seen


def stored(tmp_path: Path) -> list[tuple[str, str]]:
    (run,) = tracker.Api(overrides={"base_url": str(tmp_path / "root")}).runs("main/p")
    return [(row["stream"], row["text"]) for row in run.console()]


PRINTS = """
print("python")
os.write(1, b"bytes\\n")
ctypes.CDLL(None).puts(b"from C")
ctypes.CDLL(None).fflush(None)
subprocess.run([sys.executable, "-c", "import sys; print('child', sys.stdout.isatty())"])
print("error", file=sys.stderr)
for percent in (0, 50, 100):
    sys.stderr.write(f"\\r{percent}% \U0001f600")
print(file=sys.stderr)
if sys.stdout.isatty():
    print(os.get_terminal_size(1).columns)
run.finish()
print("afterwards")
"""


def test_everything_that_is_printed_is_kept_and_shown(tmp_path: Path) -> None:
    """CON-1"""
    done = child(tmp_path, PRINTS)
    assert done.returncode == 0
    out = ["python", "bytes", "from C", "child False"]
    assert done.stdout.splitlines() == [*out, "afterwards"]
    assert done.stderr == "error\n\n0% 😀\n50% 😀\n100% 😀\n", "read with universal newlines"
    found = stored(tmp_path)
    assert [text for stream, text in found if stream == "stdout"] == out
    assert [text for stream, text in found if stream == "stderr"] == ["error", "100% 😀"]


def test_differs_what_leads_to_one_terminal_stays_in_one_order(tmp_path: Path) -> None:
    """CON-1: a terminal stays a terminal and shows the same; whose line it was is not told apart there."""
    plain = in_terminal(tmp_path, PRINTS, "off")
    (tmp_path / "root").rename(tmp_path / "plain")
    captured = in_terminal(tmp_path, PRINTS, "redirect")
    assert captured == plain
    assert b"child True" in plain[1]
    assert b"\r\n50\r\n" in plain[1]
    shown = plain[1].decode().replace("\r\n", "\n").splitlines()
    assert [text for _, text in stored(tmp_path)][:4] == shown[:4]
    assert {stream for stream, _ in stored(tmp_path)} == {"stdout"}


def test_a_process_that_ends_in_the_middle_has_shown_everything(tmp_path: Path) -> None:
    done = child(tmp_path, "os.write(1, b'x' * 50_000)\nos._exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "x" * 50_000, "")


def test_nobody_waits_for_a_thread_that_cannot_run(tmp_path: Path) -> None:
    """A library that prints a megabyte while it holds the interpreter; and the traceback of a crash in C."""
    done = child(
        tmp_path,
        """
        held = ctypes.PyDLL(None)
        held.write(1, b"y" * 1_000_000, 1_000_000)
        ctypes.string_at(0)
        """,
    )
    assert done.returncode == -signal.SIGSEGV
    assert done.stdout == "y" * 1_000_000
    assert "Fatal Python error: Segmentation fault" in done.stderr


@pytest.mark.slow
def test_a_reader_that_goes_ends_the_printing(tmp_path: Path) -> None:
    """As in `python train.py | head`."""
    process = subprocess.Popen(
        script(
            tmp_path,
            """
            try:
                while True:
                    print("again")
            except BrokenPipeError:
                os._exit(7)
            """,
        ),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path, env=environment(tmp_path),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"again\n"
    process.stdout.close()
    assert process.wait(30) == 7


@pytest.mark.slow
def test_printing_goes_on_when_the_program_is_killed(tmp_path: Path) -> None:
    done = child(
        tmp_path,
        """
        import psutil
        print("before", flush=True)
        time.sleep(0.2)
        folder = str(run.recorder.writer.spool_dir)
        (tee,) = [p for p in psutil.process_iter(["cmdline"]) if folder in " ".join(p.info["cmdline"] or [])]
        assert tee.pid not in [p.pid for p in psutil.Process().children(recursive=True)], "nobody waits for it"
        tee.kill()
        for n in range(5):
            print(n, flush=True)
            time.sleep(0.4)
        run.finish()
        """,
    )
    assert done.stderr == ""
    assert done.stdout == "before\n0\n1\n2\n3\n4\n"
    assert (done.returncode, done.stderr) == (0, "")
    assert ("stdout", "before") in stored(tmp_path)


@pytest.mark.slow
def test_children_print_on_after_the_run(tmp_path: Path) -> None:
    done = child(
        tmp_path,
        """
        late = subprocess.Popen(["/bin/sh", "-c", "sleep 0.5; echo late"])
        if os.fork() == 0:
            print("forked", flush=True)
            os._exit(0)
        os.wait()
        run.finish()
        print("done", flush=True)
        os._exit(0)
        """,
    )
    assert sorted(done.stdout.split()) == ["done", "forked", "late"]
    assert ("stdout", "forked") in stored(tmp_path)


def test_ctrl_c_reaches_the_training_and_the_last_words_are_kept(tmp_path: Path) -> None:
    code, seen = in_terminal(tmp_path, "os.killpg(0, signal.SIGINT)\ntime.sleep(20)", "redirect")
    assert code == -signal.SIGINT
    assert b"KeyboardInterrupt" in seen
    assert any("KeyboardInterrupt" in text for _, text in stored(tmp_path))


def test_the_descriptors_are_given_back(tmp_path: Path, capfd: Any) -> None:
    before = [os.fstat(number) for number in (1, 2)]
    opened = set(os.listdir("/proc/self/fd"))
    one = redirect(tmp_path / "copy")
    assert one is not None
    os.write(1, b"heard\n")
    os.write(2, b"and shown\n")
    assert os.fstat(1).st_ino != before[0].st_ino
    assert one.stop() == [("stdout", "heard\n"), ("stderr", "and shown\n")]
    assert [os.fstat(number).st_ino for number in (1, 2)] == [status.st_ino for status in before]
    assert set(os.listdir("/proc/self/fd")) == opened
    assert capfd.readouterr() == ("heard\n", "and shown\n")
    assert not (tmp_path / "copy").exists()
    assert one.stop() == []
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(_is_ours(process, tmp_path) for process in psutil.process_iter()):
        time.sleep(0.05)
    assert not any(_is_ours(process, tmp_path) for process in psutil.process_iter())


def test_a_descriptor_that_somebody_replaced_is_left_alone(tmp_path: Path, capfd: Any) -> None:
    one = redirect(tmp_path / "copy")
    assert one is not None
    saved = os.dup(1)
    with (tmp_path / "elsewhere").open("wb") as file:
        os.dup2(file.fileno(), 1)
    one.stop()
    os.write(1, b"elsewhere")
    os.dup2(saved, 1)
    os.close(saved)
    assert (tmp_path / "elsewhere").read_bytes() == b"elsewhere"


def test_where_no_program_can_be_started_only_python_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert redirect(tmp_path / "copy") is None
    os.write(1, b"still there\n")
    out, err = capfd.readouterr()
    assert out == "still there\n"
    assert "console='redirect' is not possible here" in err


def test_a_copy_that_nobody_reads_has_a_bound(tmp_path: Path) -> None:
    copy = Copy(str(tmp_path), 2 * PART_BYTES)
    for _ in range(10):
        copy.add(1, b"x" * PART_BYTES)
    assert copy.file is not None
    copy.file.close()
    names = sorted(os.listdir(tmp_path))
    assert names == ["000000000009.part", "000000000010.part"]


def _is_ours(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in " ".join(process.cmdline())
    except psutil.Error:
        return False
