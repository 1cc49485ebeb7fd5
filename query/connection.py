"""DuckDB connections: one in-memory database a process, one cursor a thread, both kept.

A fresh `duckdb.connect()` costs 17 ms. After a fork the child builds its own: the inherited database has no
threads there. Nothing but Arrow tables and paths of local files is ever handed to DuckDB.
"""

from __future__ import annotations

import os
import tempfile
import threading
from typing import Final

import duckdb

from tracker.storage.cache import default_cache_dir

__all__ = ["connection"]

_NO_REPLACEMENTS: Final = "SET python_enable_replacements = false"  # a name in SQL is never a Python variable
_SETTINGS: Final = (
    "SET GLOBAL autoinstall_known_extensions = false",
    "SET GLOBAL autoload_known_extensions = false",
    "SET GLOBAL parquet_metadata_cache = true",  # parts never change
)


class _Process:
    """What belongs to one process id."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.database = duckdb.connect(":memory:")
        spill = _spill_directory().replace("'", "''")
        for setting in (*_SETTINGS, f"SET temp_directory = '{spill}'"):
            self.database.execute(setting)
        self.local = threading.local()


def _spill_directory() -> str:
    """Where what does not fit into memory goes: made when that happens, removed with the database.

    Below the local cache, beside which there is room; by default DuckDB would litter the working directory.
    """
    name = f"spill-{os.getpid()}-{os.urandom(4).hex()}"  # databases must not share one
    folder = str(default_cache_dir())
    try:
        os.makedirs(folder, exist_ok=True)
        if os.access(folder, os.W_OK):
            return os.path.join(folder, name)
    except OSError:
        pass
    return os.path.join(tempfile.gettempdir(), f"tracker-{name}")


_lock = threading.Lock()
_process: _Process | None = None
_inherited: list[_Process] = []  # never closed in a child: that could wait for threads which are not there


def connection() -> duckdb.DuckDBPyConnection:
    """This thread's connection. Leave no statement open on it: fetch everything."""
    global _process
    process = _process
    if process is None or process.pid != os.getpid():
        with _lock:
            process = _process
            if process is None or process.pid != os.getpid():
                if process is not None:
                    _inherited.append(process)
                process = _process = _Process()
    found: duckdb.DuckDBPyConnection | None = getattr(process.local, "cursor", None)
    if found is None:
        found = process.local.cursor = process.database.cursor()
        found.execute(_NO_REPLACEMENTS)  # belongs to the cursor, not to the database
    return found


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
