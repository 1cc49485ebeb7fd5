"""`run.alert`: ALRT-1..3, and the hooks that hand alerts on."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.sdk import alert_delivery
from tracker.sdk.alerts import alert_level, alert_wait_s


class Receiver(ThreadingHTTPServer):
    """Answers with the codes that it is told, then 200; keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.codes: list[int] = []
        self.came: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret-part"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append(json.loads(body))
        self.server.hold.wait(10)
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_delivery, "_BACKOFF_S", (0.02, 0.02, 0.02, 0.02))


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("level", ["info", "FATAL", "", 3, b"INFO"])
def test_levels_are_three_words(level: Any) -> None:
    """ALRT-1"""
    with pytest.raises(ValueError, match="INFO, WARN or ERROR"):
        alert_level(level)
    assert [alert_level(word) for word in (None, "INFO", "WARN", "ERROR")] == ["INFO", "INFO", "WARN", "ERROR"]
    assert [alert_level(member) for member in tracker.AlertLevel] == ["INFO", "WARN", "ERROR"]


def test_waits_are_seconds_or_a_timedelta() -> None:
    """ALRT-1"""
    assert [alert_wait_s(wait) for wait in (None, 5, 0.5, timedelta(minutes=2))] == [60.0, 5.0, 0.5, 120.0]
    for wait in ("5", [5]):
        with pytest.raises(ValueError, match="seconds or a timedelta"):
            alert_wait_s(wait)  # type: ignore[arg-type]


def test_an_alert_is_recorded_and_flushed_at_once(start: Any) -> None:
    """ALRT-1, ALRT-3: a long title is no error."""
    run, writer = start()
    flushes = writer.flushes
    tracker.alert("t" * 200, "text", level="ERROR")
    (alert,) = [fact for fact in writer.facts() if fact.kind == "alert"]
    assert alert.value["title"] == "t" * 200
    assert (alert.value["text"], alert.value["level"]) == ("text", "ERROR")
    assert abs(alert.value["time"] - time.time()) < 60
    assert writer.flushes == flushes + 1
    with pytest.raises(ValueError, match="level"):
        run.alert("a", "b", level="warn")
    run.finish()
    with pytest.raises(tracker.UsageError, match="finished"):
        run.alert("a", "b")


def test_a_title_is_not_repeated_within_its_wait(start: Any) -> None:
    """ALRT-2"""
    run, writer = start()
    run.alert("same", "1")
    run.alert("same", "2")
    run.alert("same", "3", wait_duration=timedelta(hours=1))
    run.alert("other", "4")
    run.alert("same", "5", wait_duration=0)
    assert [fact.value["text"] for fact in writer.facts() if fact.kind == "alert"] == ["1", "4", "5"]


def test_a_webhook_gets_the_alert_and_its_run(start: Any, receiver: Receiver) -> None:
    run, writer = start(name="night", settings={"alert_webhook": receiver.url})
    run.alert("Loss", "is NaN", level="WARN")
    run.finish()
    (came,) = receiver.came
    assert {**came, "id": "", "time": 0} == {
        "id": "", "title": "Loss", "text": "is NaN", "level": "WARN", "time": 0, "entity": "main", "project": "p",
        "run_id": run.id, "run_name": "night", "run_url": came["run_url"],
    }  # fmt: skip
    assert came["run_url"].startswith(writer.store_url)
    assert came["id"] == next(fact.path for fact in writer.facts() if fact.kind == "alert")


def test_a_chat_gets_text_with_its_control_characters_escaped(start: Any, receiver: Receiver) -> None:
    run, _ = start(name="night", settings={"alert_slack": receiver.url})
    run.alert("a <b> & c", "<!channel> look", level="ERROR")
    run.finish()
    (came,) = receiver.came
    assert set(came) == {"text"}
    head, text, about = came["text"].splitlines()
    assert "*a &lt;b&gt; &amp; c* [ERROR]" in head
    assert text == "&lt;!channel&gt; look"
    assert about == f"_night (main/p/{run.id})_"


def test_a_command_gets_the_alert_on_its_standard_input_and_in_its_environment(start: Any, tmp_path: Path) -> None:
    """No shell takes it apart."""
    code = "import os, sys; open('got', 'w').write(os.environ['TRACKER_ALERT_TITLE'] + '|' + sys.stdin.read())"
    run, _ = start(settings={"alert_command": f"{sys.executable} -c {shlex.quote(code)}"})
    run.alert("$(touch pwned); x", "y")
    run.finish()
    title, _, body = (tmp_path / "got").read_text().partition("|")
    assert title == json.loads(body)["title"] == "$(touch pwned); x"
    assert not (tmp_path / "pwned").exists()


def test_a_hook_that_fails_is_asked_again(start: Any, receiver: Receiver, capsys: Any) -> None:
    receiver.codes = [503, 429, 500]
    run, _ = start(settings={"alert_webhook": receiver.url})
    run.alert("a", "b")
    eventually(lambda: len(receiver.came) == 4)
    run.finish()
    assert len({came["id"] for came in receiver.came}) == 1
    assert "not delivered" not in capsys.readouterr().err


def test_a_hook_that_refuses_is_named_without_its_secrets(start: Any, receiver: Receiver, capsys: Any) -> None:
    receiver.codes = [404]
    run, _ = start(settings={"alert_webhook": receiver.url})
    run.alert("Loss", "b")
    run.finish()
    said = capsys.readouterr().err
    assert "alert 'Loss' was recorded but not delivered: webhook at 127.0.0.1 answered 404" in said
    assert "secret" not in said
    assert "secret" not in repr(run.settings)
    assert "secret" not in repr(run.recorder.options)
    assert len(receiver.came) == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-command-here", "could not be started"),
        ("false", "ended with code 1"),
        ("'", "alert_command: ValueError"),
    ],
)
def test_a_command_that_does_not_work_is_said(start: Any, capsys: Any, command: str, said: str) -> None:
    run, _ = start(settings={"alert_command": command})
    run.alert("a", "b")
    run.finish()
    assert said in capsys.readouterr().err


def test_a_hook_that_hangs_holds_up_neither_the_training_nor_the_other_hooks(
    start: Any, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(alert_delivery, "_STOP_S", 0.3)
    receiver.hold.clear()
    run, _ = start(settings={"alert_webhook": receiver.url, "alert_command": f"tee -a {tmp_path}/got"})
    began = time.monotonic()
    run.alert("a", "b")
    run.alert("c", "d")
    assert time.monotonic() - began < 1
    eventually(lambda: (tmp_path / "got").exists() and (tmp_path / "got").read_text().count('"title"') == 2)
    run.finish()
    assert time.monotonic() - began < 5
    assert "alert_webhook did not take its alerts in time" in capsys.readouterr().err


def test_too_many_alerts_are_recorded_and_not_all_delivered(
    start: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(alert_delivery, "_WAITING_MAX", 2)
    monkeypatch.setattr(alert_delivery, "_STOP_S", 0.2)
    receiver.hold.clear()
    run, writer = start(settings={"alert_webhook": receiver.url})
    for n in range(5):
        run.alert(str(n), "b")
    run.finish()
    assert "was recorded but not delivered: 2 others wait" in capsys.readouterr().err
    assert len([fact for fact in writer.facts() if fact.kind == "alert"]) == 5


def test_offline_and_disabled_runs_call_no_hook(start: Any, receiver: Receiver, capsys: Any) -> None:
    """MODE-2, MODE-4"""
    run, writer = start(mode="offline", settings={"alert_webhook": receiver.url})
    run.alert("a", "b")
    run.alert("c", "d")
    run.finish()
    assert len([fact for fact in writer.facts() if fact.kind == "alert"]) == 2
    assert capsys.readouterr().err.count("no hook is called") == 1
    with tracker.init(mode="disabled", settings={"alert_webhook": receiver.url}) as off:
        assert off.alert("a", "b", level="anything") is None
    assert receiver.came == []


def test_where_hooks_are_configured(start: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment and settings; a webhook that is no web address is refused."""
    monkeypatch.setenv("TRACKER_ALERT_WEBHOOK", receiver.url)
    run, _ = start()
    run.alert("a", "b")
    run.finish()
    assert len(receiver.came) == 1
    with pytest.raises(ValueError, match="alert_slack"):
        start(settings={"alert_slack": "ftp://example.org"})


def test_alerts_are_read_back(tmp_path: Path) -> None:
    run = tracker.init(project="p", settings={"base_url": str(tmp_path / "root")})
    run.alert("first", "1")
    run.alert("second", "2", level="ERROR")
    run.finish()
    api = tracker.Api(overrides={"base_url": str(tmp_path / "root")})
    alerts = api.run(f"p/{run.id}").alerts
    assert [(alert["title"], alert["text"], alert["level"]) for alert in alerts] == [
        ("first", "1", "INFO"),
        ("second", "2", "ERROR"),
    ]
    assert alerts[0]["time"] <= alerts[1]["time"]
