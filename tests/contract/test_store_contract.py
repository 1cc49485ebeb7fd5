"""Every adapter and server on which the contract must hold. What it says is in store_contract.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator.servers import ceph_s3, make_gcs_bucket, new_bucket, rclone_s3, use_gcs, use_s3
from places import GcsRaw, LocalRaw, MemoryRaw, Place, S3Raw
from store_contract import StoreContract, payload, race

from tracker.storage import memory
from tracker.storage.port import Store
from tracker.storage.probe import explain_missing_put_if_absent


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with ceph_s3(tmp_path_factory.mktemp("ceph")) as url:
            yield url
    except FileNotFoundError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with rclone_s3(tmp_path_factory.mktemp("rclone")) as url:
            yield url
    except FileNotFoundError as exc:
        pytest.skip(str(exc))


class TestMemory(StoreContract):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        yield Place("memory://contract/root", MemoryRaw("contract", "root/"), None)
        memory.forget_memory("contract")


class TestLocal(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        root = tmp_path / "not yet there"
        root.mkdir()
        return Place(str(root), LocalRaw(root), None)


class TestS3(StoreContract):
    """moto. Its listing tells whole seconds."""

    @pytest.fixture
    def place(self, s3_url: str, s3_endpoint: str) -> Place:
        return Place(s3_url, S3Raw(s3_endpoint, s3_url), "s3://no-such-bucket-here/prefix")


class TestS3BucketRoot(StoreContract):
    """A root without a prefix: s3fs lists that in another way."""

    has_pages = False

    @pytest.fixture
    def place(self, s3_url: str, s3_endpoint: str) -> Place:
        url = s3_url.removesuffix("/prefix")
        return Place(url, S3Raw(s3_endpoint, url), None)


class TestGcs(StoreContract):
    @pytest.fixture
    def place(self, gcs_url: str, gcs_endpoint: str) -> Place:
        return Place(gcs_url, GcsRaw(gcs_endpoint, gcs_url), "gs://no-such-bucket-here/prefix")


class TestGcsBucketRoot(StoreContract):
    has_pages = False

    @pytest.fixture
    def place(self, gcs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Place:
        url = f"gs://{new_bucket()}"
        make_gcs_bucket(gcs_endpoint, url.removeprefix("gs://"))
        use_gcs(gcs_endpoint, monkeypatch)
        return Place(url, GcsRaw(gcs_endpoint, url), None)


@pytest.mark.realserver
class TestCeph(StoreContract):
    """Ceph's RADOS gateway, a real server: 412 comes without the condition's name, and reads as EINVAL in s3fs."""

    @pytest.fixture
    def place(self, ceph: str, monkeypatch: pytest.MonkeyPatch) -> Place:
        return _signed_place(ceph, monkeypatch)


@pytest.mark.realserver
class TestRclone(StoreContract):
    """rclone's S3 server answers 200 to a conditional put and overwrites: the probe finds out, runs still work."""

    enforces = False

    @pytest.fixture
    def place(self, rclone: str, monkeypatch: pytest.MonkeyPatch) -> Place:
        return _signed_place(rclone, monkeypatch)

    def test_other_bytes_are_refused_and_the_key_stays_as_it_was(self, store: Store, place: Place) -> None:
        """They are not: that is what is lost, and `explain_missing_put_if_absent` says it."""
        store.put_if_absent("k", b"first")
        store.put_if_absent("k", b"other")
        assert place.raw.get("k") == b"other"
        assert "does not refuse to overwrite" in explain_missing_put_if_absent(store.url)

    def test_one_of_sixteen_racing_threads_wins(self, store: Store, place: Place) -> None:
        """All believe it; what is stored is whole, and one of theirs."""
        assert all(race(store, "race/0", 16))
        assert place.raw.get("race/0") in {payload(number) for number in range(16)}

    def test_awkward_bytes(self, store: Store, place: Place) -> None:
        store.put_if_absent("k/1", b"\0\r\n\r\n")
        assert place.raw.get("k/1") == b"\0\r\n\r\n"


def _signed_place(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A fresh bucket on a server that checks signatures."""
    use_s3(endpoint, monkeypatch)
    url = f"s3://{new_bucket()}/prefix"
    raw = S3Raw(endpoint, url)
    raw.client.create_bucket(Bucket=raw.bucket)
    return Place(url, raw, "s3://no-such-bucket-here/prefix")


class TestAnyFsspec(StoreContract):
    """Any other fsspec filesystem: it looks, then writes, so nothing is enforced when two look at once."""

    enforces = False

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        import elsewhere

        root = tmp_path / "elsewhere"
        root.mkdir()
        prelude = f"import sys; sys.path.insert(0, {str(Path(elsewhere.__file__).parent)!r}); import elsewhere"
        return Place(f"elsewhere://{root}", LocalRaw(root), None, prelude)

    def test_one_of_sixteen_racing_threads_wins(self, store: Store, place: Place) -> None:
        """At least one, and what is stored is whole, and that of one who believes it."""
        results = race(store, "race/0", 16)
        assert any(results)
        assert place.raw.get("race/0") in {payload(number) for number, won in enumerate(results) if won}

    def test_the_probe_tells_what_the_server_does(self, store: Store, place: Place) -> None:
        """One after the other it would look exclusive; so it is not asked."""
        assert not store.enforces_put_if_absent()
        assert place.raw.keys() == []
