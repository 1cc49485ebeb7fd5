"""Read-only SQL from a user, over registered Arrow tables and nothing else.

Two fences, each enough alone for what it guards: the statement is parsed first, and only one SELECT
over the given views and a short list of harmless table functions passes; then it runs on a fresh
in-memory DuckDB whose external access, extensions, spilling and configuration are switched off and locked.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from typing import Any, Final

import duckdb
import pyarrow as pa

from tracker.storage.errors import UsageError

__all__ = ["MEMORY_LIMIT_BYTES", "SQL_CHARS_MAX", "TIMEOUT_S", "run_user_sql", "views_named"]

TIMEOUT_S: Final = 60.0
MEMORY_LIMIT_BYTES: Final = 1 << 30
SQL_CHARS_MAX: Final = 100_000

_BATCH_ROWS: Final = 10_000
_INTERRUPT_EVERY_S: Final = 0.2
_HINT: Final = "Allowed is one SELECT over the views {views}."

# table functions that touch neither file, network, pointer, setting nor log
_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"})

# scalar functions that look out of the data (settings, environment), write, wait, or take SQL as text
_REFUSED_FUNCTIONS: Final = frozenset(
    {
        "current_query",
        "current_setting",
        "currval",
        "getenv",
        "getvariable",
        "json_deserialize_sql",
        "json_execute_serialized_sql",
        "nextval",
        "query",
        "query_table",
        "sleep_ms",
        "write_log",
    }
)

# in this order: nothing can be changed after the last one
_LOCKS: Final = (
    "SET python_enable_replacements = false",
    "SET temp_directory = ''",
    "SET allow_community_extensions = false",
    "SET allow_persistent_secrets = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def run_user_sql(
    sql: str,
    views: Mapping[str, pa.Table],
    *,
    timeout_s: float = TIMEOUT_S,
    memory_limit: int = MEMORY_LIMIT_BYTES,
) -> pa.Table:
    """The answer to one SELECT over `views`, which may load a table only when asked for it.

    Nothing outside `views` can be read or written from inside the SQL. `timeout_s` (seconds) and
    `memory_limit` (bytes, for DuckDB's work and, again, for the answer) stop a query that grows; one
    function call that builds a huge value (`repeat('x', 1e9)`) is seen only when it returns.

    Raises:
        UsageError: not one SELECT, something refused, an unknown view or column (with what is meant
            perhaps), an error in the SQL, or a limit reached.
    """
    named = views_named(sql, views)
    with _locked_connection({name: views[name] for name in named}, memory_limit) as con:
        stopped = threading.Event()
        try:
            return _within(timeout_s, con, stopped, lambda: _answer(con, sql, memory_limit, stopped))
        except (duckdb.InterruptException, TimeoutError):
            raise _too_slow(timeout_s) from None
        except duckdb.OutOfMemoryException:
            raise _too_big(memory_limit) from None
        except duckdb.Error as exc:
            raise UsageError(_clean(str(exc))) from exc


def views_named(sql: str, views: Mapping[str, object]) -> list[str]:
    """Those of `views` that one permitted SELECT names, sorted. Runs nothing.

    Raises:
        UsageError: as `run_user_sql`, for what can be seen from the text alone.
    """
    if len(sql) > SQL_CHARS_MAX:
        raise UsageError(f"The SQL has {len(sql):,} characters; at most {SQL_CHARS_MAX:,} are read. Shorten it.")
    hint = _HINT.format(views=", ".join(sorted(views)))
    tree = _parse(sql, hint)
    nodes = list(_nodes(tree))
    known = {name.lower(): name for name in views}
    local = {entry["key"].lower() for node in nodes for entry in _cte_entries(node)}
    found: set[str] = set()
    for node in nodes:
        match node.get("type"):
            case "BASE_TABLE":
                name = _table_name(node, known, local, hint)
                found |= {known[name]} if name in known else set()
            case "TABLE_FUNCTION":
                _check_table_function(node["function"], hint)
            case "SHOW_REF" if node.get("query") is None and node.get("table_name") != '"tables"':
                raise UsageError(f"SHOW is limited to SHOW TABLES. {hint} DESCRIBE runs lists a view's columns.")
            case "FUNCTION" if node["function_name"].lower() in _REFUSED_FUNCTIONS:
                raise UsageError(f"The function {node['function_name']} is refused here. {hint}")
            case _:
                continue
    if any(node.get("type") == "SHOW_REF" and node.get("query") is None for node in nodes):
        return sorted(views)
    return sorted(found)


def _locked_connection(tables: Mapping[str, pa.Table], memory_limit: int) -> duckdb.DuckDBPyConnection:
    """The second fence: it holds even for a statement that the first one should not have let through."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": f"{memory_limit}B",
    }
    con = duckdb.connect(":memory:", config=config)
    for name, table in tables.items():
        con.register(name, table)
    for statement in _LOCKS:
        con.execute(statement)
    return con


def _parse(sql: str, hint: str) -> dict[str, Any]:
    """The one SELECT as DuckDB's own parser sees it (JSON syntax tree)."""
    with duckdb.connect(":memory:") as con:
        row = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    assert row is not None
    try:
        answer: dict[str, Any] = json.loads(row[0])
    except RecursionError:
        raise UsageError("The SQL is nested too deeply. Split it with WITH.") from None
    if answer["error"]:
        if answer["error_type"] == "not implemented":
            raise UsageError(f"Only SELECT statements run here (a PIVOT needs its values: IN (...)). {hint}")
        raise UsageError(f"The SQL does not parse: {answer['error_message']}{_where(sql, answer)}. {hint}")
    statements = answer["statements"]
    if len(statements) != 1:
        raise UsageError(f"Exactly one statement runs at a time, not {len(statements)}. {hint}")
    tree: dict[str, Any] = statements[0]
    if tree["named_param_map"]:
        raise UsageError("The SQL has a parameter ($1 or ?), but nothing is bound to it. Write the value itself.")
    return tree


def _where(sql: str, answer: dict[str, Any]) -> str:
    position = answer.get("position")
    if not position:
        return ""
    rest = sql.encode()[int(position) :].decode(errors="replace")  # DuckDB counts bytes
    return f", here: {rest[:40]!r}"


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Every JSON object of the tree; a loop, so that depth is no danger."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)


def _cte_entries(node: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (node.get("cte_map") or {}).get("map") or []
    return entries


def _table_name(node: dict[str, Any], known: Mapping[str, str], local: set[str], hint: str) -> str:
    """The table's name in lower case, which is a view's or a WITH's."""
    name = str(node["table_name"]).lower()
    plain = not node.get("catalog_name") and node.get("schema_name", "") in ("", "main")
    if plain and (name in known or name in local):
        return name
    shown = ".".join(part for part in (node.get("catalog_name"), node.get("schema_name"), node["table_name"]) if part)
    close = difflib.get_close_matches(name, [*known, *local], n=1)
    meant = f' Did you mean "{close[0]}"?' if close else ""
    raise UsageError(f'There is no view "{shown}".{meant} {hint} Files and catalogs cannot be read from inside.')


def _check_table_function(function: dict[str, Any], hint: str) -> None:
    name = function["function_name"]
    if name.lower() not in _TABLE_FUNCTIONS or function.get("schema") or function.get("catalog"):
        allowed = ", ".join(sorted(_TABLE_FUNCTIONS))
        raise UsageError(f"The table function {name} is refused here; {allowed} are not. {hint}")


def _within(
    timeout_s: float, con: duckdb.DuckDBPyConnection, stopped: threading.Event, work: Callable[[], pa.Table]
) -> pa.Table:
    """What `work` returns or raises. It runs in a thread: inside of DuckDB nobody would hear the clock or Ctrl-C."""
    done: Future[pa.Table] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as exc:
            done.set_exception(exc)

    threading.Thread(target=run, name="tracker-sql", daemon=True).start()
    try:
        return done.result(timeout_s)
    finally:
        stopped.set()
        while not done.done():  # an interrupt before the query has begun is forgotten, so say it again
            con.interrupt()
            wait([done], timeout=_INTERRUPT_EVERY_S)


def _answer(con: duckdb.DuckDBPyConnection, sql: str, memory_limit: int, stopped: threading.Event) -> pa.Table:
    """The rows, streamed and counted, so that the answer is bounded too."""
    reader = con.sql(sql).to_arrow_reader(_BATCH_ROWS)
    batches, size_bytes = [], 0
    for batch in reader:
        size_bytes += batch.nbytes
        if size_bytes > memory_limit:
            raise _too_big(memory_limit)
        if stopped.is_set():
            raise duckdb.InterruptException("stopped")
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=reader.schema)


def _too_slow(timeout_s: float) -> UsageError:
    return UsageError(f"The SQL ran longer than {timeout_s:g} s and was stopped. Narrow it, or raise the time limit.")


def _too_big(memory_limit: int) -> UsageError:
    size_mib = memory_limit >> 20
    return UsageError(f"The SQL needed more than {size_mib:,} MiB of memory and was stopped. Narrow it, or raise it.")


def _clean(message: str) -> str:
    """DuckDB's own words: it names the view or column, the candidates and the place."""
    return message.replace("\n\n", "\n").strip()
