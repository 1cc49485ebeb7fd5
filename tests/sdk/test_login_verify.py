"""Credentials that login keeps, and whether a root works: MODE-7."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.errors import AuthenticationError, CommError, UsageError
from tracker.storage.credentials import config_dir, kept_options, parse_credentials
from tracker.storage.stores import open_store

ACCOUNT = {"type": "service_account", "private_key": "k", "client_email": "a@b"}


@pytest.mark.parametrize(
    ("root", "key", "options"),
    [
        ("s3://bucket/x", "ID:SECRET", {"key": "ID", "secret": "SECRET"}),
        ("s3://bucket/x", "ID:SECRET:SES:SION", {"key": "ID", "secret": "SECRET", "token": "SES:SION"}),
        ("s3://bucket/x", "f" * 40, None),
        ("s3://bucket/x", "ID:", None),
        ("gs://bucket", json.dumps(ACCOUNT), {"token": ACCOUNT}),
        ("gs://bucket", "no such file", None),
        ("/a/directory", "ID:SECRET", None),
    ],
)
def test_what_a_key_means_for_a_root(root: str, key: str, options: dict[str, Any] | None) -> None:
    assert parse_credentials(root, key) == options


def test_a_key_is_kept_for_its_root_and_for_this_user_alone(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODE-7: what is below the root has it too, the environment wins, other roots do not see it."""
    assert tracker.login(host="s3://bucket/team/", key="ID:SECRET") is True
    file = config_dir() / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "SECRET" not in capsys.readouterr().err
    assert tracker.login(host="s3://bucket/team/other", key="ID2:SECRET2") is True
    assert kept_options("s3://bucket/team/x")["key"] == "ID"
    assert kept_options("s3://bucket/team/other")["key"] == "ID2"
    assert kept_options("s3://bucket/teams") == kept_options("s3://bucket") == kept_options("/bucket/team") == {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the environment")
    assert kept_options("s3://bucket/team") == {}
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    file.write_text("damaged")
    assert kept_options("s3://bucket/team") == {}


def test_differs_a_key_is_a_credential_of_the_store() -> None:
    """The key of an account is not needed, and not kept."""
    assert tracker.login(host="s3://bucket", key="f" * 40) is True
    assert not (config_dir() / "credentials.json").exists()


def test_a_service_account_is_kept_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text(json.dumps(ACCOUNT))
    tracker.login(host="gs://bucket", key=str(tmp_path / "account.json"))
    assert kept_options("gs://bucket/x") == {"token": ACCOUNT}
    (tmp_path / "account.json").write_text("{}")
    with pytest.raises(UsageError, match="no private_key"):
        tracker.login(host="gs://bucket", key=str(tmp_path / "account.json"))


def test_a_run_reaches_its_store_with_the_kept_key(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has the endpoint, and no credentials."""
    key = f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(AuthenticationError, match="redentials"):
        tracker.login(host=s3_url, verify=True)
    assert tracker.login(host=s3_url, key=key, verify=True) is True
    run = tracker.init(project="p")
    run.log({"a": 1})
    run.finish()
    assert [row["a"] for row in tracker.Api().run(f"p/{run.id}").scan_history()] == [1]


def test_verify_writes_reads_and_leaves_nothing(store_url: str, capsys: Any) -> None:
    """MODE-7: on a directory, S3 and GCS."""
    assert tracker.login(host=store_url, verify=True) is True
    assert "can be written to and read from" in capsys.readouterr().err
    store = open_store(store_url)
    assert store.list("") == []
    store.close()


def test_verify_says_what_is_wrong(tmp_path: Path, s3_url: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommError, match="can not be used"):
        tracker.login(host=str(tmp_path / "file"), verify=True)
    with pytest.raises(CommError, match="can not be used") as caught:
        tracker.login(host="s3://no-such-bucket-here/x", verify=True)
    assert isinstance(caught.value.exc, tracker.Error)


def test_verify_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        threading.Thread(target=lambda: deaf.listen(), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        began = time.monotonic()
        with pytest.raises(CommError, match="did not answer within 1 seconds"):
            tracker.login(host="s3://bucket/x", verify=True, timeout=1)
        assert time.monotonic() - began < 5


def test_offline_nothing_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """MODE-7"""
    monkeypatch.setenv("TRACKER_MODE", "offline")
    assert tracker.login(host="s3://no-such-bucket-here/x", verify=True) is False
