"""The command as a process: start-up, pipes, signals, terminals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_builder import write_run, write_three_runs

COMMAND = str(Path(sys.executable).with_name("tracker"))


@pytest.fixture
def url(local_url: str) -> str:
    write_three_runs(local_url)
    return local_url


def test_the_version_comes_at_once() -> None:
    """Promise: 0.15 s. Measured beside a bare interpreter, since machines differ."""

    def seconds(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began

    done = subprocess.run([COMMAND, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("tracker 0.")
    assert done.stderr == ""
    bare = min(seconds(sys.executable, "-c", "pass") for _ in range(5))
    assert min(seconds(COMMAND, "--version") for _ in range(5)) < bare + 0.15


def test_the_module_runs_like_the_command(url: str) -> None:
    """Where the script is not on the path: python -m tracker.cli.main."""
    module = [sys.executable, "-m", "tracker.cli.main"]
    done = subprocess.run([*module, "runs", "list", url, "--format", "csv"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("id,name,state")
    assert subprocess.run([*module, "nothing"], capture_output=True, check=False).returncode == 2


def test_a_query_leaves_pandas_out(url: str) -> None:
    """It costs 0.4 s, and pyarrow imports it unasked."""
    code = (
        "import sys; from tracker.cli.main import main\n"
        f"sys.argv = ['tracker', 'query', {url!r}, '--history']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    print('pandas.core' in sys.modules, done.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False 0"


def test_head_ends_the_command_quietly(local_url: str) -> None:
    write_run(local_url, "long", rows=[{"x": float(n)} for n in range(20_000)])
    for form in ("jsonl", "csv", "table", "json"):
        query = f"{COMMAND} query {local_url} --history --rows 20000 --format {form}"
        command = f"{query} | head -c 100 > /dev/null; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("141\n", "")


def test_interrupting_ends_with_130_and_no_traceback(url: str) -> None:
    sql = "SELECT count(*) FROM range(1000000000000)"
    with subprocess.Popen([COMMAND, "query", url, "--sql", sql], stderr=subprocess.PIPE, text=True) as process:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


def run_on_terminal(*arguments: str) -> tuple[int, str]:
    """Exit code and everything shown, with stdin, stdout and stderr on a terminal of 80 columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="80", TERM="xterm")
        os.execv(COMMAND, [COMMAND, *arguments])
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux: the other side was closed
            break
        if not piece:
            break
        shown += piece
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_a_terminal_gets_a_narrow_table_and_no_binary_data(url: str) -> None:
    code, shown = run_on_terminal("query", url)
    assert code == 0
    assert "columns do not fit" in shown
    assert "name of a" in shown
    code, shown = run_on_terminal("query", url, "--format", "parquet")
    assert code == 2
    assert "parquet is binary and would garble the terminal. Use --output answer.parquet, or a pipe." in shown


def test_progress_is_drawn_on_a_terminal_only(url: str) -> None:
    _, shown = run_on_terminal("query", url, "--format", "json")
    assert "files" in shown
    done = subprocess.run([COMMAND, "query", url, "--format", "json"], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_plain_mistake_is_told_on_stderr_with_code_2() -> None:
    for arguments in (["nothing"], ["query", "--no-such"], ["query", "--limit", "0"], ["runs"], []):
        done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2, arguments
        assert "Usage" in done.stderr + done.stdout
