"""The directory adapter beyond the contract: power cuts, network mounts, full disks, rights, links."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracker.storage import local
from tracker.storage.errors import CorruptData, CredentialsMissing, KeyTaken, NotFound, StorageUnavailable, UsageError
from tracker.storage.local import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


def files_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_bytes_are_on_disk_before_the_name_and_the_name_before_the_return(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write, fsync, link, unlink, fsync of the directory: any power cut leaves the whole object or none."""
    store.put_if_absent("a/first", b"x")  # the directories exist now
    done: list[str] = []

    def watch(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, watched)

    for name in ("write", "fsync", "link", "unlink"):
        watch(name)
    store.put_if_absent("a/second", b"x")
    assert done == ["write", "fsync", "link", "unlink", "fsync"]


def test_a_link_whose_reply_was_lost_is_ours(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS repeats a LINK whose reply was lost and reports EEXIST; the second name of our file tells the truth."""
    link = os.link

    def lossy(source: str, target: str) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)

    monkeypatch.setattr(os, "link", lossy)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("nobody else wrote: nothing to compare"))
    store.put_if_absent("k", b"mine")
    monkeypatch.undo()
    assert (root / "k").read_bytes() == b"mine"
    assert files_in(root) == ["k"]


def refuse_link(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_without_hard_links_an_exclusive_rename_serves(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """FAT, exFAT, some FUSE and SMB mounts have no LINK."""
    refuse_link(monkeypatch, number)
    store.put_if_absent("k", b"first")
    store.put_if_absent("k", b"first")
    with pytest.raises(KeyTaken):
        store.put_if_absent("k", b"other")
    assert store.enforces_put_if_absent()
    assert files_in(root) == ["k"]


def test_without_link_and_exclusive_rename_it_writes_and_says_so(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_link(monkeypatch)

    def refused(*_: object) -> bool:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(local, "rename_no_replace", refused)
    store.put_if_absent("k", b"first")
    with pytest.raises(KeyTaken):
        store.put_if_absent("k", b"other")
    assert not store.enforces_put_if_absent()
    assert files_in(root) == ["k"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_unavailable_names_the_path_and_leaves_nothing(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write = os.write

    def short_then_full(fd: int, data: memoryview) -> int:
        if len(data) <= 10:
            raise OSError(number, os.strerror(number))
        return write(fd, data[:10])

    monkeypatch.setattr(os, "write", short_then_full)
    with pytest.raises(StorageUnavailable, match=r"root/a/k: .*Free space") as caught:
        store.put_if_absent("a/k", b"x" * 35)
    assert not isinstance(caught.value, CredentialsMissing)
    monkeypatch.undo()
    assert files_in(root) == []
    store.put_if_absent("a/k", b"x" * 35)


def test_a_short_write_is_continued(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    store.put_if_absent("k", bytes(range(100)))
    assert (root / "k").read_bytes() == bytes(range(100))


def test_a_directory_without_rights_is_named_with_the_remedy(tmp_path: Path) -> None:
    """In a process of its own, without root's rights to everything."""
    script = """
import os, sys
from pathlib import Path
from tracker.storage import probe
from tracker.storage.errors import CredentialsMissing
from tracker.storage.local import LocalStore
top = Path(sys.argv[1])
store = LocalStore(top)
store.put_if_absent("open/k", b"x")
(top / "closed").mkdir(mode=0)
(top / "readonly").mkdir(mode=0o555)
(top / "open" / "k").chmod(0)
top.chmod(0o555)
if os.getuid() == 0:
    os.setuid(65534)
uses = [
    lambda: store.put_if_absent("readonly/k", b"x"),
    lambda: store.put_if_absent("new/k", b"x"),
    lambda: store.get("open/k"),
    lambda: store.get("closed/k"),
    lambda: store.list(""),
    lambda: store.list_dirs("closed/"),
    lambda: store.delete(["open/k"]),
    lambda: LocalStore(top / "closed" / "root").list(""),
]
for use in uses:
    try:
        use()
    except CredentialsMissing as exc:
        assert str(top) in str(exc) and "Give this user the right" in str(exc), exc
    else:
        print("no error")
"""
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    place = tmp_path / "store"
    done = subprocess.run([sys.executable, "-c", script, str(place)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_root_is_not_found_until_the_first_write(store: LocalStore, root: Path) -> None:
    for read in (lambda: store.list(""), lambda: store.list_dirs("")):
        with pytest.raises(NotFound, match=f"There is no directory {root}"):
            read()
    with pytest.raises(NotFound):
        store.get("k")
    assert not root.exists()
    store.put_if_absent("k", b"x")
    assert [info.key for info in store.list("")] == ["k"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    store = LocalStore(tmp_path / "file")
    for use in (lambda: store.list(""), lambda: store.put_if_absent("a/k", b"x")):
        with pytest.raises(StorageUnavailable, match="a file stands where a directory should"):
            use()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_in_place_of_an_object_is_corrupt(store: LocalStore, root: Path) -> None:
    (root / "k").mkdir(parents=True)
    with pytest.raises(CorruptData, match="a directory stands where a file should"):
        store.get("k")


def test_a_path_that_is_too_long_is_a_usage_error(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["x" * 200] * 25)
    with pytest.raises(UsageError, match="too long"):
        LocalStore(deep).put_if_absent("k", b"x")


def test_half_written_files_are_never_shown(store: LocalStore, root: Path) -> None:
    """What a crash leaves behind."""
    store.put_if_absent("a/k", b"x")
    (root / "a/.tmp-123").write_bytes(b"half")
    (root / "only").mkdir()
    (root / "only/.tmp-456").write_bytes(b"half")
    assert [info.key for info in store.list("")] == ["a/k"]
    assert store.list_dirs("") == ["a"]


def test_empty_directories_are_removed_and_made_again(store: LocalStore, root: Path) -> None:
    store.put_if_absent("a/b/c/k", b"x")
    store.put_if_absent("a/other", b"x")
    store.delete(["a/b/c/k"])
    assert sorted(path.name for path in root.iterdir()) == ["a"]
    assert sorted(path.name for path in (root / "a").iterdir()) == ["other"]
    store.put_if_absent("a/b/c/k", b"y")
    assert store.get("a/b/c/k") == b"y"
    store.delete(["a/b/c/k", "a/other"])
    assert root.is_dir()
    assert store.list("") == []


def test_writers_and_deleters_of_one_directory_do_not_hurt_each_other(root: Path) -> None:
    """Each deletion prunes the directory; each put needs it."""
    stores = [LocalStore(root) for _ in range(4)]
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(40):
                key = f"a/b/{number}-{turn}"
                stores[number].put_if_absent(key, b"x")
                stores[number].list("a/")
                stores[number].delete([key])
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert files_in(root) == []


def test_processes_that_race_for_a_name_have_one_winner(root: Path) -> None:
    script = """
import sys
from pathlib import Path
from tracker.storage.errors import KeyTaken
from tracker.storage.local import LocalStore
store, me, won = LocalStore(Path(sys.argv[1])), sys.argv[2].encode(), 0
sys.stdin.readline()
for number in range(60):
    try:
        store.put_if_absent(f"race/{number}", me * 1000)
        won += 1
    except KeyTaken:
        pass
print(won)
"""
    command = [sys.executable, "-c", script, str(root)]
    processes = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "abcd"
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sum(int(process.communicate()[0]) for process in processes) == 60
    assert all(len(set(path.read_bytes())) == 1 for path in (root / "race").iterdir())


def test_links_are_followed_once(store: LocalStore, root: Path, tmp_path: Path) -> None:
    """A project may be moved to another disk; a link that leads back does not list for ever."""
    store.put_if_absent("a/k", b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "moved").write_bytes(b"y")
    (root / "linked").symlink_to(elsewhere)
    (root / "a/loop").symlink_to(root)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert [info.key for info in store.list("")] == ["a/k", "linked/moved"]
    assert store.list_dirs("") == ["a", "linked"]


def test_objects_are_found_on_the_local_disk(store: LocalStore, root: Path) -> None:
    assert store.local_path("a/k") == root / "a" / "k"
    assert store.url == str(root)


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EPERM, None])
def test_a_file_from_another_disk_is_copied_onto_this_one(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None
) -> None:
    """From the same disk it gets a second name instead; what its maker deletes then stays in the store."""
    source, link = tmp_path / "merged", os.link
    source.write_bytes(os.urandom(3_000_000))

    def refusing(target: Any, path: Any) -> None:
        if refusal is not None and Path(target) == source:
            raise OSError(refusal, os.strerror(refusal))
        link(target, path)

    monkeypatch.setattr(os, "link", refusing)
    store.put_file_if_absent("a/k", source)
    assert os.path.samefile(source, root / "a/k") is (refusal is None)
    data = source.read_bytes()
    source.unlink()
    assert store.get("a/k") == data
    assert files_in(root) == ["a/k"]


def test_a_copy_that_does_not_fit_leaves_nothing(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "merged"
    source.write_bytes(b"x" * 100)

    def refusing(*_: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refusing)
    monkeypatch.setattr(local.shutil, "copyfileobj", full)
    with pytest.raises(StorageUnavailable, match="Free space"):
        store.put_file_if_absent("a/k", source)
    assert files_in(root) == []
