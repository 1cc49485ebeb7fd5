"""One connection a thread, kept; a forked child has its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

from store_maker import made_run

from tracker.query.connection import connection
from tracker.query.memory_cache import MemoryCache


def test_a_thread_keeps_its_connection_and_shares_it_with_none() -> None:
    mine = connection()
    assert connection() is mine
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.extend([connection(), connection()]))
    thread.start()
    thread.join()
    assert others[0] is others[1]
    assert others[0] is not mine


def test_what_does_not_fit_into_memory_goes_beside_the_cache_and_leaves_with_the_process(tmp_path: Path) -> None:
    text = """
import os, sys
from tracker.query.connection import connection
con = connection()
con.execute("SET memory_limit = '60MB'")
sort = "SELECT count(*) FROM (SELECT * FROM range(12000000) t(a) ORDER BY hash(a) LIMIT 11999990)"
print(con.execute(sort).fetchall()[0][0])
print(sum(name.startswith("spill-") for name in os.listdir(sys.argv[1])))
"""
    environment = os.environ | {"TRACKER_CACHE_DIR": str(tmp_path / "it's" / "cache")}
    command = [sys.executable, "-c", text, str(tmp_path / "it's" / "cache")]
    found = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["11999990", "1"]
    assert os.listdir(tmp_path / "it's" / "cache") == []
    assert os.listdir(tmp_path) == ["it's"]


def test_python_variables_are_never_read_by_sql() -> None:
    import duckdb
    import pyarrow as pa
    import pytest

    secret = pa.table({"a": [1]})
    with pytest.raises(duckdb.CatalogException):
        connection().sql("SELECT * FROM secret").fetchall()
    assert secret.num_rows == 1


def test_a_forked_child_asks_its_own_questions(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Also one that is forked while the parent has folded the project."""
    from tracker.apis.public import Api

    made_run(str(tmp_path / "store"), "r", [{"a": 1}, {"a": 2}])

    def answer() -> list[object]:
        runs = Api(overrides={"base_url": str(tmp_path / "store")}).runs("p", filters={"summary_metrics.a": 2})
        return [[run.id for run in runs], runs.histories(keys=["a"])]

    wanted = answer()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks beside threads; that is the point
        child = os.fork()
    if not child:
        try:
            os.write(writing, repr(answer()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read().decode() == repr(wanted)
    os.waitpid(child, 0)
    assert answer() == wanted


def test_threads_ask_at_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tracker.apis.public import Api

    for n in range(6):
        made_run(str(tmp_path / "store"), f"r{n}", [{"a": n}], config={"n": n})
    found: dict[int, list[str]] = {}

    def ask(n: int) -> None:
        for _ in range(3):
            runs = Api(overrides={"base_url": str(tmp_path / "store")}).runs("p", filters={"config.n": {"$gte": n}})
            found[n] = [run.id for run in runs]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [f"r{m}" for m in range(n, 6)] for n in range(6)}


def test_the_memory_cache_is_bounded_and_forgets_what_was_used_least() -> None:
    cache: MemoryCache[str] = MemoryCache(100)
    for name in "abc":
        cache.put(name, name, 40)
    assert cache.get("a") is None
    assert cache.get("b") == "b"
    cache.put("d", "d", 40)
    assert cache.get("c") is None
    assert cache.get("b") == "b"
    cache.put("b", "B", 10)
    assert (len(cache), cache.size_bytes) == (2, 50)
    cache.put("huge", "x", 1000)
    assert (len(cache), cache.get("huge")) == (1, "x")
    cache.clear()
    assert (len(cache), cache.size_bytes) == (0, 0)
