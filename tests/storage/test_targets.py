"""Where names of stored files lead on the local disk: below the folder that was asked for, each to its own place."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.storage import targets
from tracker.storage.targets import RefusedTarget, target_of, targets_of

LEADING_OUT = [
    "..", "../x", "a/../../x", "a/..", "/etc/passwd", "//x", "a//b", "./a", "a/./b", "a/", "", ".",
    "C:\\x", "c:/x", "C:", "\\\\server\\share", "\\x", "a\\..\\..\\x",
]  # fmt: skip


@pytest.mark.parametrize("name", LEADING_OUT, ids=repr)
def test_names_that_would_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    """FILE-1."""
    with pytest.raises(RefusedTarget, match="would leave"):
        target_of(tmp_path, name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a\0b", "x" * 256, "é" * 128 + "/x", "\ud800"], ids=["NUL", "long", "wide", "half"])
def test_names_that_no_disk_holds_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedTarget, match="can have the name"):
        target_of(tmp_path, name)


@pytest.mark.parametrize("name", ["a", "..a/b..", "x:1.json", "a b/ü", "a\\b", "...", "~", "x" * 255], ids=repr)
def test_all_other_names_are_where_they_say(tmp_path: Path, name: str) -> None:
    target = target_of(tmp_path, name)
    assert target == tmp_path.joinpath(*name.split("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("x")
    assert target.resolve().is_relative_to(tmp_path.resolve())


@given(name=st.text(st.sampled_from("./\\aA:C~ é\0"), max_size=12))
def test_whatever_is_accepted_lies_below_the_folder(name: str) -> None:
    root = Path("/nowhere/root")
    try:
        target = target_of(root, name)
    except RefusedTarget:
        return
    assert PurePosixPath(os.path.normpath(target)).is_relative_to(root)
    assert os.path.normpath(target) != str(root)


def test_links_that_lead_out_are_refused_and_others_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    (root / "out").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "in").symlink_to("real")
    for name in ("out/x", "out/deep/x", "up/x", "up/outside/x"):
        with pytest.raises(RefusedTarget, match="link"):
            target_of(root, name)
    assert target_of(root, "in/x") == root / "in" / "x"
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    assert target_of(linked, "real/x") == linked / "real" / "x", "a root may itself be a link"


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("x/y/z", "b", "x/y")], ids=" ".join)
def test_two_files_that_need_one_place_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(RefusedTarget, match="cannot both lie"):
        targets_of(tmp_path, names)


SAME = [("A", "a"), ("x/Readme.md", "x/README.md"), ("A/b", "a"), ("\u00e9", "e\u0301")]


@pytest.mark.parametrize("names", SAME, ids=" ".join)
def test_names_that_a_disk_takes_for_one_are_refused_there(
    tmp_path: Path, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a disk is played: every name is found there."""
    monkeypatch.setattr(targets.os.path, "lexists", lambda path: True)
    with pytest.raises(RefusedTarget, match="cannot both lie"):
        targets_of(tmp_path, names)


@pytest.mark.parametrize("names", SAME, ids=" ".join)
def test_a_disk_that_tells_them_apart_takes_both(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        pytest.skip("this disk takes a and A for one")
    assert targets_of(tmp_path, names) == [tmp_path / name for name in names]
    assert os.listdir(tmp_path) == ["probe"], "the probe is gone"


def test_files_that_share_folders_are_no_clash(tmp_path: Path) -> None:
    names = ["a/b/c", "a/b/d", "a/bc", "ab", "a/c/c"]
    assert targets_of(tmp_path, names) == [tmp_path / name for name in names]
