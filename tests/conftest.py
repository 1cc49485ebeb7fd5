"""Fixtures that all tests share: a clean environment, and stores on a directory, S3 and GCS.

Servers start lazily, once per session, on free ports, and are killed at the end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator.servers import (
    FaultProxy,
    FaultyStore,
    fake_gcs,
    fault_proxy,
    make_gcs_bucket,
    make_s3_bucket,
    moto_s3,
    new_bucket,
    use_gcs,
    use_s3,
)

pytest.register_assert_rewrite("store_contract", "rule_lists")

_FOREIGN = ("WANDB_", "TRACKER_", "AWS_", "GOOGLE_", "GCSFS_", "STORAGE_EMULATOR_HOST", "RANK", "SLURM_")


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's settings, credentials or caches reaches a test, or is touched by one. The fake home."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for name, folder in {
        "HOME": "",
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
        "TRACKER_CACHE_DIR": ".cache/tracker",
        "TRACKER_CONFIG_DIR": ".config/tracker",
    }.items():
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # no search for credentials on the network
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("TRACKER_COMPACT", "false")  # no process that outlives a test
    for name in ("X_DISABLE_META", "X_DISABLE_STATS"):  # what a machine is differs from one to the next
        monkeypatch.setenv(f"TRACKER_{name}", "true")
    monkeypatch.setenv("TRACKER_X_SAVE_REQUIREMENTS", "false")
    monkeypatch.setenv("TRACKER_CONSOLE", "off")  # tests look at what is printed themselves
    writer = sys.modules.get("tracker.storage.writer")
    if writer is not None:
        writer.CLOCK.last_us = 0  # an earlier test may have seen stamps of the future
    return home


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """moto's S3 server."""
    with moto_s3() as url:
        yield url


@pytest.fixture(scope="session")
def gcs_endpoint() -> Iterator[str]:
    """Our GCS emulator."""
    with fake_gcs() as url:
        yield url


@pytest.fixture(scope="session")
def s3_proxy(s3_endpoint: str) -> Iterator[FaultProxy]:
    with fault_proxy(s3_endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def gcs_proxy(gcs_endpoint: str) -> Iterator[FaultProxy]:
    with fault_proxy(gcs_endpoint) as proxy:
        yield proxy


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix in a fresh bucket on S3; the environment points there."""
    bucket = new_bucket()
    make_s3_bucket(s3_endpoint, bucket)
    use_s3(s3_endpoint, monkeypatch)
    return f"s3://{bucket}/prefix"


@pytest.fixture
def gcs_url(gcs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix in a fresh bucket on GCS; the environment points there."""
    bucket = new_bucket()
    make_gcs_bucket(gcs_endpoint, bucket)
    use_gcs(gcs_endpoint, monkeypatch)
    return f"gs://{bucket}/prefix"


@pytest.fixture
def local_url(tmp_path: Path) -> str:
    """A directory that does not exist yet."""
    return str(tmp_path / "store")


@pytest.fixture(params=["local", "s3", "gcs"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The same test on a directory, on S3 and on GCS."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def s3_faults(s3_url: str, s3_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    use_s3(s3_proxy.url, monkeypatch)
    s3_proxy.set_faults()
    yield FaultyStore(s3_url, s3_proxy, "PUT")
    s3_proxy.set_faults()


@pytest.fixture
def gcs_faults(gcs_url: str, gcs_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    use_gcs(gcs_proxy.url, monkeypatch)
    gcs_proxy.set_faults()
    yield FaultyStore(gcs_url, gcs_proxy, "POST")
    gcs_proxy.set_faults()


@pytest.fixture(params=["s3", "gcs"])
def faulty_store(request: pytest.FixtureRequest) -> FaultyStore:
    """The same test on S3 and on GCS, behind the proxy."""
    store: FaultyStore = request.getfixturevalue(f"{request.param}_faults")
    return store
