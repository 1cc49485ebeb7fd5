"""URLs: which store opens, how a place is spelled, and what is not loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.storage.errors import UsageError
from tracker.storage.local import LocalStore
from tracker.storage.memory import MemoryStore
from tracker.storage.remote_store import RemoteStore
from tracker.storage.stores import is_remote_url, normalize_url, open_store, warm_up


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("/data/runs", "/data/runs"),
        ("/data//runs/../x/", "/data/x"),
        ("file:///data/a%20b/", "/data/a b"),
        ("FILE:///data", "/data"),
        ("file://localhost/data", "/data"),
        ("local:///data", "/data"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket//a///b/", "s3://bucket/a/b"),
        ("s3a://bucket/x", "s3://bucket/x"),
        ("gcs://bucket/x", "gs://bucket/x"),
        ("gs://bucket/Größe", "gs://bucket/Größe"),
        ("memory://name/", "memory://name"),
        ("sftp://user:secret@host:22/data/", "sftp://user@host:22/data"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
    ],
)
def test_a_place_has_one_spelling(text: str, normal: str) -> None:
    assert normalize_url(text) == normal
    assert normalize_url(normal) == normal


def test_relative_paths_and_home_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalize_url("runs") == str(tmp_path / "runs")
    assert normalize_url("./s3:/x") == str(tmp_path / "s3:/x")
    assert normalize_url("~/runs") == f"{os.environ['HOME']}/runs"


@pytest.mark.parametrize(
    "text",
    ["", "  ", "s3://", "s3:///x", "gs://", "memory://", "s3://b/../c", "s3://b/x?versionId=1", "gs://key@b/x", "a::s3://b"],
)
def test_what_names_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        normalize_url(text)
    with pytest.raises(UsageError):
        open_store(text)


@pytest.mark.parametrize("text", ["s3://b", "gs://b/x", "memory://x", "abfs://c@a/x", "S3://b", "http://h/x"])
def test_remote(text: str) -> None:
    assert is_remote_url(text)


@pytest.mark.parametrize("text", ["/x", "x", "", "file:///x", "local:///x", "C:/x", "s3:/b", "~/x", "a/s3://b"])
def test_not_remote(text: str) -> None:
    assert not is_remote_url(text)


def test_every_url_opens_its_store(tmp_path: Path) -> None:
    assert type(open_store(str(tmp_path))) is LocalStore
    assert type(open_store(tmp_path.as_uri())) is LocalStore
    assert type(open_store("memory://x")) is MemoryStore
    for url in ("s3://b/x", "gs://b/x", "abfs://c@a/x"):
        store = open_store(url)
        assert type(store) is RemoteStore
        assert store.url == url


def test_secrets_in_a_url_are_not_shown() -> None:
    store = open_store("sthree://user:secret@host/x")
    assert store.url == "sthree://user@host/x"
    with pytest.raises(UsageError) as caught:
        store.list("")
    assert "secret" not in str(caught.value)


def test_local_and_memory_stores_load_no_heavy_library(tmp_path: Path) -> None:
    """Nor does opening a remote one: its libraries come with the first request."""
    script = """
import sys
from tracker.storage.stores import open_store
for url in (sys.argv[1], "memory://x"):
    store = open_store(url)
    store.put_if_absent("a/k", b"x")
    assert len(store.list("")) == 1 and store.get("a/k") == b"x"
assert open_store("s3://bucket/x").url == "s3://bucket/x"
heavy = {"fsspec", "s3fs", "gcsfs", "aiohttp", "botocore", "google", "pyarrow", "numpy", "duckdb", "polars", "pydantic"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_warming_up_loads_the_libraries_without_a_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no-such-host.invalid")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://no-such-host.invalid")
    for url in ("s3://bucket/x", "gs://bucket/x", str(tmp_path), "memory://x"):
        warm_up(open_store(url))
    assert {"s3fs", "gcsfs"} <= set(sys.modules)
