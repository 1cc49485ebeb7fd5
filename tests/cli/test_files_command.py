"""`tracker files ls`, `get`, `put` and `rm`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Tracker
from store_builder import write_run

from tracker.apis.public import Api

CONTENTS = {"model/a.pt": b"a" * 3000, "model/b.pt": b"b", "log.txt": b"text"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store whose run main/digits/r keeps three files."""
    url = str(tmp_path / "store")
    write_run(url, "r")
    add(url, tmp_path, CONTENTS)
    return url


def add(url: str, tmp_path: Path, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(data)
    Api({"base_url": url}).run("main/digits/r").upload_files([tmp_path / "up"], tmp_path / "up")


def names(tracker: Tracker, url: str) -> list[str]:
    return [record["name"] for record in json.loads(tracker("files", "ls", "r", "--url", url, "--json").out)]


def test_files_are_listed(tracker: Tracker, url: str) -> None:
    """RUN-11, FILE-1."""
    done = tracker("files", "ls", "digits/r", "--url", url)
    assert done.code == 0
    header, *lines = done.out.splitlines()
    assert header.split() == ["name", "size", "mimetype", "updated_at"]
    assert [line.split()[:2] for line in lines] == [["log.txt", "4"], ["model/a.pt", "3000"], ["model/b.pt", "1"]]
    (record,) = json.loads(tracker("files", "ls", "r", "model/b.*", "--url", url, "--format", "json").out)
    assert record["sha256"] == "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
    assert set(record) == {"name", "size", "mimetype", "updated_at", "sha256"}
    csv = tracker("files", "ls", "r", "log.txt", "--url", url, "--format", "csv").out.splitlines()
    assert csv[0] == "name,size,mimetype,updated_at,sha256"
    assert len(csv) == 2


def test_files_are_downloaded(tracker: Tracker, url: str, tmp_path: Path) -> None:
    """FILE-1: all, or those of some names; what is there already is an error, replaced, or left."""
    out = tmp_path / "out"
    done = tracker("files", "get", "r", "--url", url, "--root", str(out))
    assert done.code == 0
    assert done.out.splitlines() == [str(out / name) for name in sorted(CONTENTS)]
    assert "3 files of r" in done.err
    assert {name: (out / name).read_bytes() for name in CONTENTS} == CONTENTS
    (out / "log.txt").write_bytes(b"mine")
    again = tracker("files", "get", "r", "log.txt", "--url", url, "--root", str(out))
    assert (again.code, again.out) == (2, "")
    assert "--exist-ok" in again.err
    tracker("files", "get", "r", "--url", url, "--root", str(out), "--exist-ok")
    assert (out / "log.txt").read_bytes() == b"mine"
    replaced = tracker("files", "get", "main/digits/r", "log*", "--url", url, "--root", str(out), "--replace", "--json")
    assert json.loads(replaced.out) == {"files": [{"name": "log.txt", "path": str(out / "log.txt")}]}
    assert (out / "log.txt").read_bytes() == b"text"


def test_only_the_named_files_are_downloaded(tracker: Tracker, url: str, tmp_path: Path) -> None:
    done = tracker("files", "get", "r", "model/*", "model/a.pt", "--url", url, "--root", str(tmp_path / "out"))
    assert [Path(line).name for line in done.out.splitlines()] == ["a.pt", "b.pt"]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.pt", "b.pt"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["get", "r", "nothing*"], 3), (["ls", "x"], 3), (["get", "a/b/c/d"], 2), (["rm", "r", "x"], 3)],
)
def test_what_is_not_there_is_told(tracker: Tracker, url: str, arguments: list[str], code: int) -> None:
    done = tracker("files", *arguments, "--url", url)
    assert done.code == code
    assert done.out == ""
    assert done.err.startswith("error[")


def test_a_name_that_leads_out_is_refused(tracker: Tracker, url: str, tmp_path: Path) -> None:
    from tracker.storage.events import KIND_FILE, join_path

    run = Api({"base_url": url}).run("main/digits/r")
    sha256 = run.file("log.txt").sha256
    run.store_edits([(KIND_FILE, "r", join_path(["../evil"]), {"_type": "file", "sha256": sha256, "size": 4})])
    done = tracker("files", "get", "r", "--url", url, "--root", str(tmp_path / "out"))
    assert done.code == 2
    assert "would leave" in done.err
    assert not (tmp_path / "evil").exists()


def test_damaged_contents_are_told(tracker: Tracker, url: str, tmp_path: Path) -> None:
    (blob,) = (path for path in Path(url).rglob("blobs/*/*") if path.stat().st_size == 3000)
    blob.chmod(0o644)
    blob.write_bytes(b"x" * 3000)
    done = tracker("files", "get", "r", "model/a.pt", "--url", url, "--root", str(tmp_path / "out"))
    assert done.code == 5
    assert "other bytes" in done.err
    assert not (tmp_path / "out" / "model" / "a.pt").exists()


def test_files_and_folders_are_added(
    tracker: Tracker, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN-11."""
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "log.txt").write_text("newer")
    (tmp_path / "here" / "deep" / "x").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    would = tracker("files", "put", "r", "log.txt", "deep", "--url", url, "--dry-run")
    assert (would.code, would.out.splitlines()) == (0, ["log.txt", "deep/x"])
    assert names(tracker, url) == ["log.txt", "model/a.pt", "model/b.pt"]
    done = tracker("files", "put", "r", "log.txt", "deep", "--url", url, "--json")
    assert json.loads(done.out) == {"files": [{"name": "log.txt", "size": 5}, {"name": "deep/x", "size": 1}]}
    assert names(tracker, url) == ["deep/x", "log.txt", "model/a.pt", "model/b.pt"]
    monkeypatch.chdir(tmp_path)
    assert tracker("files", "put", "r", "here/deep/x", "--root", "here/deep", "--url", url).out == "x\n"


@pytest.mark.parametrize("path", ["missing", "../outside"])
def test_what_cannot_be_added_is_told_and_nothing_is(
    tracker: Tracker, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x").write_text("x")
    (tmp_path / "outside").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    done = tracker("files", "put", "r", "x", path, "--url", url)
    assert (done.code, done.out) == (2, "")
    assert Path(path).name in done.err
    assert "x" not in names(tracker, url)


def test_files_are_removed_together(tracker: Tracker, url: str) -> None:
    """FILE-1: one write for all of them; with a name that is not there none goes."""
    assert tracker("files", "rm", "r", "model/*", "nothing", "--url", url).code == 3
    assert tracker("files", "rm", "r", "model/*", "--url", url, "--dry-run").out == "model/a.pt\nmodel/b.pt\n"
    assert len(names(tracker, url)) == 3
    edits = len(list(Path(url).rglob("things/edits/**/*.parquet")))
    done = tracker("files", "rm", "r", "model/*", "--url", url, "--json")
    assert [record["name"] for record in json.loads(done.out)["files"]] == ["model/a.pt", "model/b.pt"]
    assert len(list(Path(url).rglob("things/edits/**/*.parquet"))) == edits + 1
    assert names(tracker, url) == ["log.txt"]
