"""Downloads through the public Api: many files at once, where they may lie, and the addresses of their contents."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest

import tracker
from tracker.apis.public import Api, File
from tracker.apis.public.run import Run
from tracker.storage.credentials import keep_credentials
from tracker.storage.events import KIND_FILE, join_path
from tracker.storage.names import blob_key
from tracker.storage.part_file import part_path
from tracker.storage.stores import open_store

CONTENTS = {"a/one.bin": b"1" * 5000, "a/two.bin": b"2", "empty": b"", "ü/three.bin": os.urandom(70_000)}


def run_with(url: str, contents: dict[str, bytes] = CONTENTS) -> Run:
    """A run that keeps these files."""
    run = tracker.init(project="p", id="r", settings={"base_url": url})
    for name, data in contents.items():
        run.recorder.files.put_bytes(name, data)
    run.finish()
    return Api({"base_url": url}).run("main/p/r")


@pytest.fixture
def stored(tmp_path: Path) -> Run:
    return run_with(str(tmp_path / "root"))


def test_all_files_are_downloaded_at_once(store_url: str, tmp_path: Path) -> None:
    """FILE-1, FILE-2: on a directory, S3 and GCS; again only what is missing."""
    files = run_with(store_url).files()
    paths = files.download(tmp_path / "out")
    assert paths == [tmp_path / "out" / name for name in sorted(CONTENTS)]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in CONTENTS} == CONTENTS
    assert not list((tmp_path / "out").rglob(".*")), "nothing else is there"
    with pytest.raises(ValueError, match=r"three\.bin are there already") as raised:
        files.download(tmp_path / "out")
    assert isinstance(raised.value, tracker.CommError)
    (tmp_path / "out" / "a" / "one.bin").write_bytes(b"mine")
    (tmp_path / "out" / "a" / "two.bin").unlink()
    assert files.download(str(tmp_path / "out"), exist_ok=True, workers=1) == paths
    assert (tmp_path / "out" / "a" / "one.bin").read_bytes() == b"mine"
    files.download(tmp_path / "out", replace=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_some_files_are_downloaded_by_name(stored: Run, tmp_path: Path) -> None:
    assert stored.files(["a/two.bin", "nothing"]).download(tmp_path / "out") == [tmp_path / "out" / "a" / "two.bin"]
    assert stored.files(["nothing"]).download(tmp_path / "none") == []
    with pytest.raises(tracker.UsageError, match="workers") as raised:
        stored.files().download(tmp_path / "out", workers=0)
    assert isinstance(raised.value, tracker.Error)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:\\evil"], ids=repr)
def test_differs_no_name_leads_out_of_the_folder(stored: Run, tmp_path: Path, name: str) -> None:
    """Facts can be written by anybody who can write to the store."""
    sha256 = stored.file("a/two.bin").sha256
    stored.store_edits([(KIND_FILE, "r", join_path([name]), {"_type": "file", "sha256": sha256, "size": 1})])
    before = {path for path in tmp_path.rglob("*") if "root" not in path.parts}
    for download in (stored.file(name).download, stored.files().download):
        with pytest.raises(ValueError, match="would leave") as raised:
            download(str(tmp_path / "deep" / "out"))
        assert isinstance(raised.value, tracker.CommError)
    assert {path for path in tmp_path.rglob("*") if "root" not in path.parts} == before
    stored.file(name).delete()
    stored.files().download(tmp_path / "deep" / "out")


def test_a_link_in_the_folder_leads_nowhere_else(stored: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="link"):
        stored.files().download(tmp_path / "out")
    with pytest.raises(ValueError, match="link"):
        stored.file("a/one.bin").download(str(tmp_path / "out"), replace=True)
    assert os.listdir(tmp_path / "outside") == []


def test_a_file_and_a_folder_of_one_name_cannot_both_come(tmp_path: Path) -> None:
    run = run_with(str(tmp_path / "root"), {"a": b"file", "a/b": b"below"})
    with pytest.raises(ValueError, match="'a' and 'a/b' cannot both lie"):
        run.files().download(tmp_path / "out")
    run.files(["a"]).download(tmp_path / "one")
    run.files(["a/b"]).download(tmp_path / "other")
    assert (tmp_path / "one" / "a").read_bytes() + (tmp_path / "other" / "a" / "b").read_bytes() == b"filebelow"


def test_a_download_goes_on_with_what_is_there(stored: Run, tmp_path: Path) -> None:
    file, target = stored.file("a/one.bin"), tmp_path / "out" / "one.bin"
    target.parent.mkdir()
    run = stored.files(["a/one.bin"])[0]
    part = part_path(tmp_path / "out" / "a" / "one.bin", run.sha256)
    part.parent.mkdir()
    part.write_bytes(CONTENTS["a/one.bin"][:3000])
    file.download(str(tmp_path / "out")).close()
    assert (tmp_path / "out" / "a" / "one.bin").read_bytes() == CONTENTS["a/one.bin"]
    assert not part.exists()


def test_damaged_contents_of_one_file_do_not_spoil_the_others(stored: Run, tmp_path: Path) -> None:
    bad = stored.file("a/one.bin")
    path = tmp_path / "root" / blob_key("main", "p", bad.sha256)
    path.chmod(0o644)
    path.write_bytes(b"3" * 5000)
    with pytest.raises(tracker.Error, match="other bytes"):
        stored.files().download(tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "a" / "one.bin").exists()
    rest = [name for name in CONTENTS if name != "a/one.bin"]
    assert len(stored.files(rest).download(tmp_path / "out", exist_ok=True)) == 3


def test_differs_files_have_a_storage_uri_everywhere(store_url: str) -> None:
    """FILE-3: a storage URI of what is an object of the store, "" of what is none."""
    run = run_with(store_url)
    file = run.file("a/two.bin")
    scheme = store_url.partition("://")[0] if "://" in store_url else "file"
    assert file.path_uri.startswith(f"{scheme}://")
    assert file.path_uri.endswith(f"/main/p/blobs/{file.sha256[:2]}/{file.sha256}")
    assert file.url == file.path_uri
    assert (run.file("empty").path_uri, run.file("empty").url) == ("", "data:application/octet-stream;base64,")
    assert run.file("empty").direct_url == run.file("empty").url


def test_a_direct_url_of_s3_can_be_read_by_anybody(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FILE-1: it is signed, for an hour."""
    file = run_with(s3_url).file("ü/three.bin")
    url = file.direct_url
    assert "X-Amz-Signature=" in url
    assert "X-Amz-Expires=3600" in url
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert reply.read() == CONTENTS["ü/three.bin"]


def test_a_direct_url_of_gcs_is_signed_by_a_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """FILE-1: without a request; other credentials leave it at the URI."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": pem.decode(),
        "client_email": "a@p.iam.gserviceaccount.com", "client_id": "1", "token_uri": "http://127.0.0.1:9/token",
    }  # fmt: skip
    keep_credentials("gs://bucket", {"token": account})
    signed = open_store("gs://bucket/root").signed_url("a b", 60)  # type: ignore[attr-defined]
    assert signed.startswith("https://storage.googleapis.com/bucket/root/a%20b?")
    assert "X-Goog-Expires=60" in signed
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert open_store("gs://bucket/root").signed_url("a b", 60) is None  # type: ignore[attr-defined]


def test_without_credentials_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert open_store("s3://bucket/root").signed_url("a", 60) is None  # type: ignore[attr-defined]
    file = run_with(str(tmp_path / "root")).file("a/two.bin")
    assert file.direct_url == file.path_uri


def test_a_file_without_its_run_knows_what_the_fact_says(stored: Run) -> None:
    file = stored.file("a/two.bin")
    alone = File(stored.client, file._row)
    assert (alone.name, alone.size, alone.sha256, alone.run) == (file.name, 1, file.sha256, None)
    assert json.loads(json.dumps(alone.as_dict())) == file.as_dict()
    with pytest.raises(tracker.UsageError, match="without its run"):
        alone.download()


def test_folders_are_uploaded_with_all_that_is_in_them(store_url: str, tmp_path: Path) -> None:
    """RUN-11: names are relative to root; all of them or none."""
    run = run_with(store_url, {"old": b"old", "kept/x": b"former"})
    folder = tmp_path / "up" / "kept"
    (folder / "deep").mkdir(parents=True)
    contents = {"kept/x": b"new", "kept/deep/y": os.urandom(300_000), "kept/..z": b"", "kept/deep/same": b"new"}
    for name, data in contents.items():
        (tmp_path / "up" / name).write_bytes(data)
    files = run.upload_files([folder, folder / "x"], tmp_path / "up")
    assert sorted(file.name for file in files) == sorted(contents)
    assert [file.name for file in run.files()] == sorted([*contents, "old"])
    run.files(list(contents)).download(tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in contents} == contents
    with pytest.raises(tracker.CommError):
        run.upload_files([folder / "x", folder / "missing"], tmp_path)
    assert len(run.files()) == 5


def test_a_folder_is_no_file_to_upload(stored: Run, tmp_path: Path) -> None:
    """RUN-11."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        stored.upload_file(str(tmp_path / "folder"), str(tmp_path))
    with pytest.raises(ValueError, match="does not lie below"):
        stored.upload_file(str(tmp_path / "folder" / ".." / ".." / "x"), str(tmp_path))
    with pytest.raises(tracker.CommError, match="No such file"):
        stored.upload_file(str(tmp_path / "missing"), str(tmp_path))
