"""The main job from end to end, as a user's own processes do it: script, kill, sync, Api, command, on every store."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import tracker
from tracker.apis.public import Api

SCRIPT = """
import os, time
import tracker as wandb
run = wandb.init(project="whole", id=os.environ.get("ID"), config={"lr": 0.1, "net": {"depth": 3}}, tags=["t"])
for step in range(int(os.environ.get("STEPS", "50"))):
    wandb.log({"loss": 1 / (step + 1), "deep": {"a": step}, "nan": float("nan"), "note": f"s{step}"})
    if "SAY" in os.environ:
        os.write(1, b"%d\\n" % step)
        time.sleep(0.002)
wandb.finish()
"""


def environment(url: str, **extra: str) -> dict[str, str]:
    return {**os.environ, "TRACKER_BASE_URL": url, **extra}


def run_script(cwd: Path, url: str, code: str = SCRIPT, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=cwd,
        env=environment(url, **extra),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def command(cwd: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from tracker.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=environment(url),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def api(url: str) -> Api:
    return tracker.Api(overrides={"base_url": url})


def test_a_script_logs_and_api_and_command_read_it_back(tmp_path, store_url):
    for number in range(3):
        done = run_script(tmp_path, store_url, ID=f"run{number}", STEPS=str(10 * (number + 1)))
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert store_url in done.stderr.splitlines()[0]
        assert "tracker query" in done.stderr
    runs = api(store_url).runs("main/whole", filters={"config.net.depth": 3}, order="-summary_metrics.deep.a")
    assert [run.id for run in runs] == ["run2", "run1", "run0"]
    assert {run.state for run in runs} == {"finished"}
    assert runs[0].config == {"lr": 0.1, "net": {"depth": 3}}
    assert len(list(runs[0].scan_history())) == 30
    assert list(runs[1].history(keys=["loss"], samples=3, pandas=False))[-1]["loss"] == 1 / 20
    frame = runs.histories(samples=None, keys=["deep.a"], format="polars")
    assert frame.height == 60
    printed = command(tmp_path, store_url, "query", store_url, "--project", "whole", "--format", "json")
    assert printed.returncode == 0, printed.stderr
    assert {row["id"] for row in json.loads(printed.stdout)} == {"run0", "run1", "run2"}
    sql = "select run_id, count(*) as n from history group by run_id order by run_id"
    counted = command(tmp_path, store_url, "query", store_url, "--project", "whole", "--sql", sql, "--format", "csv")
    rows = list(csv.reader(counted.stdout.splitlines()))
    assert rows == [["run_id", "n"], ["run0", "10"], ["run1", "20"], ["run2", "30"]], counted.stderr


def test_a_run_killed_halfway_is_synced_and_reads_as_it_was_acknowledged(tmp_path, store_url):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=environment(store_url, ID="killed", STEPS="100000", SAY="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 700:
            process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    done = command(tmp_path, store_url, "sync", ".")
    assert done.returncode == 0, done.stderr
    rows = list(api(store_url).run("main/whole/killed").scan_history(keys=["_step", "loss"]))
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert len(rows) > acknowledged
    assert api(store_url).run("main/whole/killed").state == "running"  # it counts as crashed after five minutes


def test_a_black_holed_endpoint_stops_nothing_and_the_data_arrives_at_the_next_sync(tmp_path, s3_url, monkeypatch):
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(50)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{hole.getsockname()[1]}")
        code = """
            import time, tracker
            began = time.perf_counter()
            run = tracker.init(project="whole", id="hole", settings={"x_finish_timeout_s": 2})
            print(time.perf_counter() - began)
            worst = 0.0
            for step in range(300):
                began = time.perf_counter()
                tracker.log({"loss": step})
                worst = max(worst, time.perf_counter() - began)
                time.sleep(0.001)
            print(worst)
        """
        began = time.monotonic()
        done = run_script(tmp_path, s3_url, code)
        assert time.monotonic() - began < 30
    assert done.returncode == 0, done.stderr
    took, worst = map(float, done.stdout.split())
    assert took < 2.0  # 0.3 s is the benchmark's claim; this machine may be busy
    assert worst < 0.5
    assert "tracker sync" in done.stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    synced = command(tmp_path, s3_url, "sync", "tracker-runs")
    assert synced.returncode == 0, synced.stderr
    rows = list(api(s3_url).run("main/whole/hole").scan_history(keys=["loss"]))
    assert rows == [{"loss": step} for step in range(300)]
    assert command(tmp_path, s3_url, "sync", "tracker-runs").returncode in (0, 3)
    assert len(list(api(s3_url).run("main/whole/hole").scan_history())) == 300


def test_eight_ranks_a_little_apart_land_in_one_run(tmp_path, local_url):
    code = """
        import os, time, tracker
        run = tracker.init(project="whole", id="job", config={"rank0": 1} if os.environ["RANK"] == "0" else None)
        for step in range(20):
            tracker.log({"loss": int(os.environ["RANK"]) + step / 100})
            time.sleep(0.02)
    """
    processes = []
    for rank in (3, 1, 0, 2, 7, 6, 5, 4):
        extra = {"RANK": str(rank), "WORLD_SIZE": "8", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code)],
                cwd=tmp_path,
                env=environment(local_url, **extra),
                stderr=subprocess.DEVNULL,
            )
        )
        time.sleep(0.3)
    assert [process.wait(60) for process in processes] == [0] * 8
    runs = api(local_url).runs("main/whole")
    assert [run.id for run in runs] == ["job"]
    rows = list(runs[0].scan_history(keys=["loss"]))
    assert sorted(row["loss"] for row in rows) == sorted(rank + step / 100 for rank in range(8) for step in range(20))
    assert runs[0].config == {"rank0": 1}
    assert runs[0].state == "finished"


def test_thirty_processes_write_to_one_project_at_once(tmp_path, local_url):
    code = """
        import os, tracker
        with tracker.init(project="whole") as run:
            for step in range(5):
                run.log({"n": step, "pid": os.getpid()})
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=tmp_path,
            env=environment(local_url, TRACKER_FINISH_TIMEOUT_S="100"),  # thirty take turns on two cores
            stderr=subprocess.DEVNULL,
        )
        for _ in range(30)
    ]
    assert [process.wait(120) for process in processes] == [0] * 30
    runs = api(local_url).runs("main/whole")
    assert len(runs) == 30
    assert runs.histories(samples=None, keys=["n"], format="polars").height == 150


@pytest.mark.parametrize("shipper", ["thread", "process"])
def test_offline_runs_arrive_with_sync_and_once(tmp_path, local_url, shipper):
    done = run_script(tmp_path, local_url, ID="away", STEPS="7", TRACKER_MODE="offline", TRACKER_X_SHIPPER=shipper)
    assert done.returncode == 0, done.stderr
    assert not Path(local_url).exists()
    for _ in range(2):
        synced = command(tmp_path, local_url, "sync", "tracker-runs", "--to", local_url)
        assert synced.returncode == 0, synced.stderr
    assert len(list(api(local_url).run("main/whole/away").scan_history())) == 7
