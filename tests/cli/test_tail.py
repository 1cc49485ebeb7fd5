"""`tracker runs tail`: what it prints, how it ends, and how it goes together with pipes and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import Tracker
from store_maker import MadeWriter, made_run

from tracker.cli.exit_codes import RUN_ENDED
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store

COMMAND = str(Path(sys.executable).with_name("tracker"))


def begun(url: str, run_id: str = "live") -> MadeWriter:
    """A run that began ten seconds ago and goes on."""
    start_us = time.time_ns() // 1000 - 10_000_000
    writer = MadeWriter(open_store(url), RunRef("main", "p", run_id), 1, start_us)
    return writer.begin({"name": "a name"}).log({"loss": 1.0, "a": {"b": 2}}).put()


def test_a_run_that_has_ended_shows_its_last_rows(tracker: Tracker, local_url: str) -> None:
    made_run(local_url, "r", [{"loss": 1 / (n + 1), "acc": n} for n in range(20)])
    done = tracker("runs", "tail", "r", local_url)
    assert done.code == 0
    assert len(done.out.splitlines()) == 10
    assert done.out.splitlines()[-1] == "step 19  loss 0.05  acc 19"
    assert done.err == "run r has finished\n"
    assert tracker("runs", "tail", "main/p/r", local_url, "-n", "1", "--keys", "acc").out == "step 19  acc 19\n"
    assert len(tracker("runs", "tail", f"{local_url}#r", "--all").out.splitlines()) == 20
    assert tracker("runs", "tail", "r", local_url, "-n", "0").out == ""


@pytest.mark.parametrize("state", sorted(RUN_ENDED))
def test_the_exit_code_says_how_the_run_ended(tracker: Tracker, local_url: str, state: str) -> None:
    made_run(local_url, "r", [{"a": 1}], state=state)
    done = tracker("runs", "tail", "r", local_url, "--json")
    assert done.code == RUN_ENDED[state]
    assert [json.loads(line)["stream"] for line in done.out.splitlines()] == ["history", "state"]
    assert json.loads(done.out.splitlines()[-1]) == {"stream": "state", "row": {"state": state}}
    assert f"run r {'has ' if state in ('finished', 'crashed') else 'ended as ' + state}" in done.err


def test_json_has_a_record_a_line_with_what_the_row_has(tracker: Tracker, local_url: str) -> None:
    made_run(local_url, "r", [{"loss": float("nan")}, {"n": 1}])
    rows = tracker("runs", "tail", "r", local_url, "--json").records()
    assert [sorted(one["row"]) for one in rows] == [
        ["_runtime", "_step", "_timestamp", "loss"], ["_runtime", "_step", "_timestamp", "n"], ["state"],
    ]  # fmt: skip
    assert rows[0]["row"]["loss"] == "NaN"


def test_streams_are_chosen_by_name(tracker: Tracker, local_url: str) -> None:
    writer = begun(local_url)
    writer.system({"cpu": 12.5})
    writer.facts(("config", "x", 1))
    from tracker.storage.frames import Points

    writer.add(Points(writer.now_us, writer.now_us, "console", {"stdout": "\x1b[31mred\x1b[0m\x07 line"}))
    writer.end("failed")
    system = tracker("runs", "tail", "live", local_url, "--system")
    assert system.code == 10
    assert system.out.endswith("  cpu 12.5\n")
    assert tracker("runs", "tail", "live", local_url, "--console").out == "red\\x07 line\n"
    both = tracker("runs", "tail", "live", local_url, "--console", "--history").out
    assert both == "step 0  loss 1  a.b 2\nred\\x07 line\n"


def test_what_is_not_there_is_said_and_waited_for(tracker: Tracker, local_url: str) -> None:
    made_run(local_url, "r", [{"a": 1}])
    done = tracker("runs", "tail", "none", local_url)
    assert (done.code, done.out) == (3, "")
    assert 'There is no run "none"' in done.err
    assert tracker("runs", "tail", "none", local_url, "--wait", "0.6").code == 3
    timer = threading.Timer(0.5, lambda: made_run(local_url, "late", [{"a": 1}]))
    timer.start()
    assert tracker("runs", "tail", "late", local_url, "--wait", "20").out == "step 0  a 1\n"
    timer.join()


def test_rows_show_while_the_run_goes_on(tracker: Tracker, local_url: str) -> None:
    writer = begun(local_url)
    with subprocess.Popen(
        [COMMAND, "runs", "tail", "live", local_url, "--every", "0.2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "step 0  loss 1  a.b 2\n"
        writer.log({"loss": 0.5}).put()
        assert process.stdout.readline() == "step 1  loss 0.5\n"
        again = MadeWriter(writer.store, writer.ref, 2, writer.now_us + 1_000_000)
        again.begin().log({"loss": 9}).put()
        assert process.stdout.readline() == "step 0  loss 9\n"
        again.end("killed")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (12, "")
    assert "run live is running; Ctrl-C ends this command, not the run" in err
    assert "warning: run live was started anew or rewound" in err
    assert err.endswith("run live ended as killed\n")


def test_ctrl_c_ends_the_command_quietly(local_url: str) -> None:
    begun(local_url)
    with subprocess.Popen(
        [COMMAND, "runs", "tail", "live", local_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Aborted" not in err


def test_a_reader_that_goes_away_ends_the_command(local_url: str) -> None:
    made_run(local_url, "r", [{"n": n} for n in range(50_000)])
    command = f"{COMMAND} runs tail r {local_url} --all | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("step 0  n 0\n141\n", "")
