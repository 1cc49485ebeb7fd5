"""Where the data goes, what is remembered, what is said: login, roots, messages."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.errors import UsageError


def test_login(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """MODE-7, and the root that it remembers, for this user alone."""
    from tracker.sdk.places import config_dir

    assert tracker.login() is True
    assert tracker.login(key="secret" * 8) is True
    assert tracker.login(host=str(tmp_path / "root")) is True
    file = config_dir() / "login.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in file.read_text()
    _, writer = start()
    assert writer.store_url == str(tmp_path / "root")
    capsys.readouterr()
    assert tracker.login(host="s3://other") is True
    assert "already active" in capsys.readouterr().err
    tracker.teardown()
    assert start()[1].store_url == str(tmp_path / "root"), "also in the next session"
    tracker.finish()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tracker.login() is False
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert tracker.login() is True
    with pytest.raises(UsageError, match="anonymous"):
        tracker.login(anonymous="perhaps")  # type: ignore[arg-type]


def test_login_that_can_not_be_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRACKER_CONFIG_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="TRACKER_BASE_URL"):
        tracker.login(host=str(tmp_path))


def test_where_the_data_goes(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, setting, TRACKER_BASE_URL, WANDB_BASE_URL unless it is a server, login, the user's data directory."""
    from tracker.base_url import resolve_base_url

    def root(**arguments: Any) -> str:
        _, writer = start(**arguments)
        tracker.finish()
        return writer.store_url

    assert root() == str(tmp_path / "data")
    tracker.login(host="memory://login")
    tracker.teardown()
    assert root() == "memory://login"
    monkeypatch.setenv("WANDB_BASE_URL", "gs://theirs/x/")
    assert root() == "gs://theirs/x"
    monkeypatch.setenv("TRACKER_BASE_URL", "s3://ours")
    assert root() == resolve_base_url() == "s3://ours"
    assert root(settings={"base_url": "relative"}) == str(tmp_path / "relative")
    assert root(settings={"base_url": "relative"}, dir="s3://argument/x") == "s3://argument/x"
    assert root(dir=tmp_path) == "s3://ours"
    assert root(dir=f"file://{tmp_path}") == "s3://ours"


def test_differs_a_web_address_is_no_root(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no server to talk to; every door says so, and no run is active then."""
    with pytest.raises(UsageError, match="no server"):
        tracker.login(host="https://example.org")
    with pytest.raises(UsageError, match="no server"):
        start(settings={"base_url": "http://localhost:8080"})
    monkeypatch.setenv("TRACKER_BASE_URL", "HTTPS://localhost")
    with pytest.raises(UsageError, match="no server"):
        start()
    assert tracker.run is None


def test_differs_wandb_base_url_is_read_only_as_a_bucket(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "gs://bucket/x")
    assert start()[1].store_url == "gs://bucket/x"
    tracker.finish()
    for text in ("https://api.example.org", "http://localhost:8080", "/a/directory"):
        monkeypatch.setenv("WANDB_BASE_URL", text)
        assert start(reinit=True)[1].store_url.endswith("/data")


def test_local_files_that_can_not_be_made(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INIT-15: a clear error with the original inside, and no active run."""
    from fake_writer import FakeWriter

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FakeWriter, "open", full)
    with pytest.raises(tracker.CommError, match=r"No space left on device.*TRACKER_DIR") as caught:
        start()
    assert isinstance(caught.value.exc, OSError)
    assert tracker.run is None
    monkeypatch.undo()


def test_a_remote_dir_leaves_the_local_files_here(start: Any, tmp_path: Path) -> None:
    _, writer = start(dir="s3://bucket/runs")
    assert writer.spool_dir.parent == tmp_path / "tracker-runs"


def test_the_first_and_last_lines_say_where_and_how(start: Any, tmp_path: Path, capsys: Any) -> None:
    """On stderr; CON-2 silences them."""
    run, writer = start(settings={"base_url": str(tmp_path / "my root")})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"its data goes to {tmp_path}/my root" in captured.err
    assert f"tracker query '{tmp_path}/my root' --project main/p" in captured.err
    from tracker.storage.writer import FinishReport

    writer.report = FinishReport(False, 12, "no route to host")
    run.finish()
    said = capsys.readouterr().err
    assert "12 records wait on this machine: no route to host" in said
    assert f"tracker sync {tmp_path}/tracker-runs" in said
    start(settings={"silent": True})
    tracker.finish()
    assert capsys.readouterr() == ("", "")


def test_quiet_shows_only_errors(capsys: Any) -> None:
    """CON-2"""
    from tracker.sdk import term

    term.configure(silent=False, quiet=True)
    term.info("i")
    term.warn("w")
    term.error("two\nlines")
    assert capsys.readouterr().err == "tracker: error: two\ntracker: lines\n"
