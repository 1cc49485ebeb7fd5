"""`Run.files`, `Run.file`, `File.download` and their like on the public `Run`."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracker
from tracker.apis.public import Api, File, Files
from tracker.apis.public.run import Run
from tracker.storage.events import KIND_FILE, join_path

HELLO_SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def stored(tmp_path: Path) -> Run:
    """A run with `a/hello.txt`, `b.json` and `empty`."""
    run = tracker.init(project="p", id="r", settings={"base_url": str(tmp_path / "root")})
    for name, text in (("a/hello.txt", b"hello"), ("b.json", b"{}" * 5000), ("empty", b"")):
        run.recorder.files.put_bytes(name, text)
    run.finish()
    return Api({"base_url": str(tmp_path / "root")}).run("main/p/r")


def test_what_a_file_says_of_itself(stored: Run) -> None:
    """FILE-1."""
    file = stored.file("a/hello.txt")
    assert isinstance(file, File)
    assert (file.name, file.size, file.mimetype) == ("a/hello.txt", 5, "text/plain")
    assert file.id == file.sha256 == HELLO_SHA256
    assert file.md5 == "XUFAKrxLKna5cZ2REBfFkg=="
    assert file.url == file.direct_url == file.path_uri
    assert file.url.endswith(f"/main/p/blobs/2c/{HELLO_SHA256}")
    assert file.updated_at.endswith("+00:00")
    assert repr(file) == "<File a/hello.txt (text/plain) 5.0B>"
    assert repr(stored.file("b.json")) == "<File b.json (application/json) 9.8KiB>"
    assert file.updatedAt == file.updated_at


def test_files_are_a_sequence_and_names_filter_exactly(stored: Run) -> None:
    """FILE-2, RUN-11."""
    files = stored.files()
    assert isinstance(files, Files)
    assert [file.name for file in files] == ["a/hello.txt", "b.json", "empty"]
    assert len(files) == files.length == 3
    assert files[-1].name == "empty"
    assert [file.name for file in files[:2]] == ["a/hello.txt", "b.json"]
    assert [file.name for file in stored.files(["b.json", "a"])] == ["b.json"]
    with pytest.raises(IndexError):
        files[3]
    with pytest.raises(IndexError, match="nothing") as raised:
        stored.file("nothing")
    assert isinstance(raised.value, tracker.CommError)


def test_next_goes_through_all_of_them(stored: Run) -> None:
    files = stored.files()
    assert [files.next().name for _ in range(3)] == ["a/hello.txt", "b.json", "empty"]
    with pytest.raises(StopIteration):
        files.next()


def test_what_was_only_declared_is_no_file(stored: Run) -> None:
    """FILE-2: a fact that names no contents."""
    stored.store_edits([(KIND_FILE, "r", join_path(["promised.bin"]), {"_type": "file", "size": 0})])
    assert [file.name for file in stored.files()] == ["a/hello.txt", "b.json", "empty"]
    assert len(stored.files(["promised.bin"])) == 0


def test_download_makes_folders_and_does_not_overwrite(stored: Run, tmp_path: Path) -> None:
    """FILE-1."""
    file = stored.file("a/hello.txt")
    with file.download(str(tmp_path / "out")) as text:
        assert text.read() == "hello"
    (tmp_path / "out" / "a" / "hello.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already") as raised:
        file.download(str(tmp_path / "out"))
    assert isinstance(raised.value, tracker.CommError)
    with file.download(str(tmp_path / "out"), exist_ok=True) as text:
        assert text.read() == "mine"
    with file.download(str(tmp_path / "out"), replace=True) as text:
        assert text.read() == "hello"
    assert [path.name for path in (tmp_path / "out" / "a").iterdir()] == ["hello.txt"]


def test_files_are_uploaded_and_deleted_afterwards(stored: Run, tmp_path: Path) -> None:
    """RUN-11, FILE-1: `upload_file` keeps the path relative to root."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "new.txt").write_text("new")
    assert stored.upload_file(str(tmp_path / "deep" / "new.txt"), str(tmp_path)).name == "deep/new.txt"
    (tmp_path / "deep" / "new.txt").write_text("changed since")
    with stored.file("deep/new.txt").download(str(tmp_path / "out")) as text:
        assert text.read() == "new"
    stored.file("deep/new.txt").delete()
    assert [file.name for file in stored.files()] == ["a/hello.txt", "b.json", "empty"]
    with pytest.raises(ValueError, match="does not lie below"):
        stored.upload_file(str(tmp_path / "deep" / "new.txt"), str(tmp_path / "out"))


def test_the_past_has_the_files_of_the_past_and_cannot_be_changed(stored: Run, tmp_path: Path) -> None:
    import time

    before = time.time()
    time.sleep(0.01)
    stored.file("b.json").delete()
    past = Api({"base_url": str(tmp_path / "root")}, as_of=before).run("main/p/r")
    assert [file.name for file in past.files()] == ["a/hello.txt", "b.json", "empty"]
    with pytest.raises(tracker.UsageError, match="past"):
        past.file("empty").delete()


def test_files_of_packed_runs_are_found(stored: Run, tmp_path: Path) -> None:
    from tracker.storage.clock import wall_us
    from tracker.storage.packing import compact_project
    from tracker.storage.stores import open_store

    store = open_store(str(tmp_path / "root"))
    report = compact_project(store, "main", "p", now_us=wall_us(), finished_quiet_s=0.0, grace_s=0.0)
    assert report.packed_writers == 1
    again = Api({"base_url": str(tmp_path / "root")}).run("main/p/r")
    assert [file.name for file in again.files()] == ["a/hello.txt", "b.json", "empty"]
    with again.file("a/hello.txt").download(str(tmp_path / "out")) as text:
        assert text.read() == "hello"
