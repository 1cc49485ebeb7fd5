"""S3 and GCS when the network or the server misbehave: what holds, how long it takes, what it says."""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import pytest
from emulator.servers import FaultyStore, free_port, use_gcs, use_s3

from tracker.storage import remote_store
from tracker.storage.errors import CredentialsMissing, KeyTaken, NotFound, StorageUnavailable, UsageError
from tracker.storage.stores import open_store, warm_up

IMPATIENT: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 0.4, "read_timeout": 0.4}},
    "gcs": {"requests_timeout": aiohttp.ClientTimeout(sock_connect=0.4, sock_read=0.4)},
}


@pytest.fixture(autouse=True)
def no_long_waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts; tests that measure the time wait as users do."""
    if "within" not in request.node.name:
        monkeypatch.setattr(remote_store, "_BACKOFF_S", 0.005)


def test_each_verb_costs_one_request(faulty_store: FaultyStore) -> None:
    """No HEAD, no second look, nothing on the empty either; a hundred keys cost a hundred GETs."""
    store, proxy = open_store(faulty_store.url), faulty_store.proxy
    put = faulty_store.put_method
    keys = [f"a/b/{number:03d}" for number in range(100)]
    costs = {
        "put": (lambda: store.put_if_absent("a/b/c", b"x"), {put: 1}),
        "put the same again": (lambda: store.put_if_absent("a/b/c", b"x"), {put: 1, "GET": 1}),
        "get": (lambda: store.get("a/b/c"), {"GET": 1}),
        "get a range": (lambda: store.get_range("a/b/c", 0, 1), {"GET": 1}),
        "get many, all missing": (lambda: store.get_many(keys), {"GET": 100}),
        "list": (lambda: store.list("a/"), {"LIST": 1}),
        "list nothing": (lambda: store.list("not/there/"), {"LIST": 1}),
        "list directories": (lambda: store.list_dirs("a/"), {"LIST": 1}),
        "list no directories": (lambda: store.list_dirs("not/there/"), {"LIST": 1}),
        "probe": (store.enforces_put_if_absent, {put: 2, "GET": 1, "DELETE": 1}),
        "probe again": (store.enforces_put_if_absent, {}),
        "delete": (lambda: store.delete(["a/b/c"]), {"DELETE": 1}),
        "delete nothing": (lambda: store.delete([]), {}),
    }
    for what, (use, cost) in costs.items():
        proxy.set_faults()
        use()
        assert (what, proxy.count()) == (what, Counter(cost))


@pytest.mark.parametrize("mode", ["drop_after", "err_after", "drop_before", "err_before"])
def test_a_put_whose_reply_is_lost_succeeds(faulty_store: FaultyStore, mode: str) -> None:
    """Whether the server did it or not: the retry finds its own object, or writes it."""
    store = open_store(faulty_store.url)
    faulty_store.proxy.set_faults({"mode": mode, "method": faulty_store.put_method, "times": 2})
    store.put_if_absent("k", b"mine")
    assert store.get("k") == b"mine"
    assert sum(fault == mode for _, _, _, fault in faulty_store.proxy.requests()) == 2


def test_a_lost_reply_does_not_hide_that_another_was_faster(faulty_store: FaultyStore) -> None:
    store = open_store(faulty_store.url)
    store.put_if_absent("k", b"theirs")
    faulty_store.proxy.set_faults({"mode": "drop_after", "method": faulty_store.put_method, "times": 1})
    with pytest.raises(KeyTaken):
        store.put_if_absent("k", b"mine")
    assert store.get("k") == b"theirs"


def test_a_conflict_of_puts_under_way_is_tried_again(s3_faults: FaultyStore) -> None:
    """S3 answers 409 ConditionalRequestConflict when two conditional puts meet; s3fs gives up on it."""
    store = open_store(s3_faults.url)
    s3_faults.proxy.set_faults({"mode": "err_before", "method": "PUT", "status": 409, "times": 2})
    store.put_if_absent("k", b"mine")
    assert store.get("k") == b"mine"


def test_one_wins_and_its_bytes_stand_whatever_gets_lost(faulty_store: FaultyStore) -> None:
    """Eight race for each of ten keys; 30 % of the replies are lost, 10 % are 503, 10 % of requests never arrive."""
    store = open_store(faulty_store.url)
    method = faulty_store.put_method
    for key in range(10):
        faulty_store.proxy.set_faults(
            {"mode": "drop_after", "method": method, "p": 0.3},
            {"mode": "err_before", "method": method, "p": 0.1},
            {"mode": "drop_before", "method": method, "p": 0.1},
        )

        def put(number: int, key: int = key) -> bool:
            while True:
                try:
                    store.put_if_absent(f"k{key}", b"thread %d" % number)
                except KeyTaken:
                    return False
                except StorageUnavailable:  # all attempts were hit: as its docstring says, call again
                    continue
                return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(put, range(8)))
        faulty_store.proxy.set_faults()
        assert won.count(True) == 1
        assert store.get(f"k{key}") == b"thread %d" % won.index(True)


def test_a_body_that_is_cut_short_is_read_again(faulty_store: FaultyStore) -> None:
    store = open_store(faulty_store.url)
    data = os.urandom(300_000)
    store.put_if_absent("k", data)
    faulty_store.proxy.set_faults({"mode": "truncate", "method": "GET", "times": 1})
    assert store.get("k") == data
    faulty_store.proxy.set_faults({"mode": "truncate", "method": "GET", "times": 1})
    assert store.get_many(["k", "x"]) == [data, None]


def test_a_listing_is_whole_or_fails(faulty_store: FaultyStore) -> None:
    store = open_store(faulty_store.url)
    keys = [f"a/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put_if_absent(key, b"x"), keys))
    second_page = "continuation-token|pageToken"
    faulty_store.proxy.set_faults({"mode": "err_before", "match": second_page, "times": 1})
    assert [info.key for info in store.list("a/")] == keys
    faulty_store.proxy.set_faults({"mode": "err_before", "match": second_page})
    with pytest.raises(StorageUnavailable):
        store.list("a/")


def test_a_server_that_stays_overloaded_is_given_up_soon(faulty_store: FaultyStore) -> None:
    """After four requests."""
    store = open_store(faulty_store.url)
    faulty_store.proxy.set_faults({"mode": "err_before", "status": 503})
    for use in (lambda: store.put_if_absent("k", b"x"), lambda: store.get("k"), lambda: store.list("")):
        with pytest.raises(StorageUnavailable, match=r"503.*retrying is safe"):
            use()
    assert len(faulty_store.proxy.requests()) == 12


def test_an_overloaded_server_is_given_up_within_seconds(faulty_store: FaultyStore) -> None:
    """With the waiting that users have: 2 s, where s3fs and gcsfs alone take 34 s."""
    store = open_store(faulty_store.url)
    warm_up(store)
    faulty_store.proxy.set_faults({"mode": "err_before", "status": 503})
    started_s = time.monotonic()
    with pytest.raises(StorageUnavailable):
        store.get("k")
    assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_rights_and_is_not_repeated(faulty_store: FaultyStore, status: int) -> None:
    store = open_store(faulty_store.url)
    faulty_store.proxy.set_faults({"mode": "err_before", "status": status})
    with pytest.raises(CredentialsMissing, match=r"refused writing k.*Check .*rights") as caught:
        store.put_if_absent("k", b"x")
    assert store.url in str(caught.value)
    assert caught.value.__cause__ is not None
    with pytest.raises(CredentialsMissing):
        store.get_many(["k"])
    assert len(faulty_store.proxy.requests()) == 2


def test_a_server_without_conditional_puts_is_written_to_all_the_same(s3_faults: FaultyStore) -> None:
    """Some servers answer 501 to the condition. Then it is left out, and the probe says so."""
    store = open_store(s3_faults.url)
    s3_faults.proxy.set_faults({"mode": "err_before", "method": "PUT", "status": 501, "times": 1})
    store.put_if_absent("k", b"x")
    assert store.get("k") == b"x"
    assert not store.enforces_put_if_absent()


def test_missing_credentials_are_named(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsMissing, match="AWS_ACCESS_KEY_ID"):
        open_store(s3_url).list("")


def test_a_bucket_that_cannot_exist_is_a_usage_error(s3_url: str) -> None:
    with pytest.raises((UsageError, NotFound), match="s3://not a bucket"):
        open_store("s3://not a bucket/x").put_if_absent("k", b"x")


def test_an_unknown_scheme_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="sthree:// cannot be used as a store"):
        open_store("sthree://bucket/x").list("")


@pytest.fixture(params=["s3", "gcs"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _open_at(endpoint: str, backend: str, monkeypatch: pytest.MonkeyPatch, **options: object) -> Any:
    (use_s3 if backend == "s3" else use_gcs)(endpoint, monkeypatch)
    return open_store(f"{'s3' if backend == 's3' else 'gs'}://bucket/prefix", options=options)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


@pytest.fixture
def unreachable_server() -> Iterator[str]:
    """Lets connections wait for ever, as a firewall does that drops packets: its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
        yield f"http://127.0.0.1:{port}"
        for connection in waiting:
            connection.close()


def _assert_unavailable(store: Any, within_s: float) -> None:
    uses = (
        lambda: store.put_if_absent("k", b"x" * 1000),
        lambda: store.get("k"),
        lambda: store.get_many([f"k{number}" for number in range(200)]),
        lambda: store.list(""),
        lambda: store.delete(["k"]),
    )
    warm_up(store)
    for use in random.sample(uses, 2):
        started_s = time.monotonic()
        with pytest.raises(StorageUnavailable, match=r"did not answer while .*retrying is safe"):
            use()
        assert time.monotonic() - started_s < within_s


def test_a_closed_port_is_unavailable_at_once(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _open_at(f"http://127.0.0.1:{free_port()}", backend, monkeypatch)
    _assert_unavailable(store, within_s=5)


def test_an_unknown_host_is_unavailable(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _open_at("http://no-such-host.invalid", backend, monkeypatch)
    with pytest.raises(StorageUnavailable, match=r"at http://no-such-host.invalid did not answer"):
        store.get("k")


def test_a_silent_server_is_unavailable(backend: str, silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put waits for leave to send (Expect: 100-continue): only the patience of an attempt bounds that."""
    monkeypatch.setattr(remote_store, "CONNECT_S", 0.5)
    monkeypatch.setattr(remote_store, "SILENCE_S", 0.5)
    _assert_unavailable(_open_at(silent_server, backend, monkeypatch, **IMPATIENT[backend]), within_s=6)


def test_an_unreachable_server_is_unavailable(
    backend: str, unreachable_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_unavailable(_open_at(unreachable_server, backend, monkeypatch, **IMPATIENT[backend]), within_s=6)


@pytest.mark.slow
def test_a_black_hole_is_given_up_within_half_a_minute_without_any_setting(
    backend: str, silent_server: str, unreachable_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for endpoint, within_s in ((silent_server, 40), (unreachable_server, 16)):
        _assert_unavailable(_open_at(endpoint, backend, monkeypatch), within_s)


def test_an_upload_that_stalls_is_given_up(backend: str, silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes the connection, and reads nothing: no time-out for reading applies while we send."""
    monkeypatch.setattr(remote_store, "CONNECT_S", 0.5)
    monkeypatch.setattr(remote_store, "SILENCE_S", 0.5)
    monkeypatch.setattr(remote_store, "_SLOWEST_BYTES_PER_S", 1 << 30)
    store = _open_at(silent_server, backend, monkeypatch)
    started_s = time.monotonic()
    with pytest.raises(StorageUnavailable, match="no answer within 1 s"):
        store.put_if_absent("k", os.urandom(32 << 20))
    assert time.monotonic() - started_s < 12


def test_threads_share_a_store_from_its_first_request_on(store_url: str) -> None:
    store = open_store(store_url)
    barrier = threading.Barrier(16)

    def use(number: int) -> bytes:
        barrier.wait()
        store.put_if_absent(f"k/{number}", b"%d" % number)
        return store.get(f"k/{number}")

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(use, range(16))) == [b"%d" % number for number in range(16)]
    assert len(store.list("k/")) == 16


def test_stores_that_are_dropped_leave_no_connection_open(faulty_store: FaultyStore) -> None:
    def sockets() -> int:
        return sum("socket:" in os.readlink(f"/proc/self/fd/{fd}") for fd in _open_fds())

    def use(*, close: bool) -> None:
        store = open_store(faulty_store.url)
        store.list("")
        if close:
            store.close()

    use(close=True)
    gc.collect()
    time.sleep(0.2)
    before = sockets()
    for number in range(10):
        use(close=number % 2 == 0)
    gc.collect()
    deadline_s = time.monotonic() + 5
    while sockets() > before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert sockets() <= before


def _open_fds() -> list[int]:
    fds = []
    for name in os.listdir("/proc/self/fd"):
        if os.path.lexists(f"/proc/self/fd/{name}"):
            fds.append(int(name))
    return fds
