"""`restore`: files of this run and of others, on the local disk and open."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracker
from tracker.storage.names import blob_key


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root that is the default one, with a run `old` that has kept `model.txt` and an empty file."""
    root = tmp_path / "root"
    monkeypatch.setenv("TRACKER_BASE_URL", str(root))
    (tmp_path / "model.txt").write_text("weights")
    (tmp_path / "empty").touch()
    run = tracker.init(project="p", id="old")
    run.save("model.txt", policy="now")
    run.save("empty", policy="now")
    run.finish()
    (tmp_path / "model.txt").unlink()
    return root


def text_of(name: str, run_path: str | None = None, replace: bool = False, root: str | None = None) -> str | None:
    file = tracker.restore(name, run_path, replace, root)
    if file is None:
        return None
    with file:
        return file.read()


def test_a_file_of_another_run_comes_to_the_current_directory(root: Path, tmp_path: Path) -> None:
    """RST-1: without a run the current directory, or `root`; an existing file is opened as it is unless `replace`."""
    assert text_of("model.txt", "main/p/old") == "weights"
    assert (tmp_path / "model.txt").read_text() == "weights"
    (tmp_path / "model.txt").write_text("mine")
    assert text_of("model.txt", "p/old") == "mine"
    assert text_of("model.txt", "main/p/old", replace=True) == "weights"
    assert text_of("model.txt", "main/p/old", root=str(tmp_path / "elsewhere")) == "weights"
    assert (tmp_path / "elsewhere" / "model.txt").is_file()
    assert text_of("empty", "main/p/old", root="elsewhere") == ""


def test_without_a_run_the_path_of_one_is_needed(root: Path) -> None:
    """RST-1."""
    with pytest.raises(ValueError, match="run_path"):
        tracker.restore("model.txt")
    with pytest.raises(tracker.CommError, match="could not find run"):
        tracker.restore("model.txt", "main/p/nobody")


def test_an_unknown_file_is_none_and_one_that_never_came_an_error(root: Path, tmp_path: Path) -> None:
    """RST-1."""
    assert tracker.restore("nothing.txt", "main/p/old") is None
    sha256 = tracker.Api().run("main/p/old").file("model.txt").sha256
    (root / blob_key("main", "p", sha256)).unlink()
    with pytest.raises(ValueError, match="declared"):
        tracker.restore("model.txt", "main/p/old")
    assert not (tmp_path / "model.txt").exists()


def test_the_active_run_restores_its_own_files_and_those_of_others(root: Path, tmp_path: Path) -> None:
    """RST-1: into the run directory; what was saved a moment ago counts."""
    run = tracker.init(project="p")
    (tmp_path / "x.txt").write_text("first")
    run.save("x.txt", policy="now")
    with run.restore("x.txt", replace=True, root=str(tmp_path / "out")) as file:  # type: ignore[union-attr]
        assert file.read() == "first"
    assert text_of("model.txt", "main/p/old") == "weights"
    assert Path(run.dir, "model.txt").read_text() == "weights"
    assert tracker.restore("nothing.txt") is None
    run.finish()


def test_a_resumed_run_restores_what_it_has_kept_before(root: Path) -> None:
    """RST-1, RES-2."""
    run = tracker.init(project="p", id="old", resume="allow")
    assert text_of("model.txt") == "weights"
    run.finish()


def test_damaged_contents_are_never_handed_out(root: Path, tmp_path: Path) -> None:
    sha256 = tracker.Api().run("main/p/old").file("model.txt").sha256
    (root / blob_key("main", "p", sha256)).write_text("weightS")
    with pytest.raises(tracker.Error, match="other bytes"):
        tracker.restore("model.txt", "main/p/old")
    assert not (tmp_path / "model.txt").exists()
