"""`SqlCalls`: a SELECT over the runs of an Api, their histories and all else that they wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from tracker.apis.public.failures import CommValueError, NoSuchProject
from tracker.errors import Error, UsageError
from tracker.query.history import PartsGone
from tracker.query.order import DEFAULT_ORDER, parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.project_patterns import projects_like
from tracker.query.projects import ProjectName
from tracker.query.runs import find_runs

if TYPE_CHECKING:
    import pyarrow

    from tracker.apis.public.client import RetryingClient

__all__ = ["SqlCalls"]

_FORMATS: Final = ("arrow", "polars", "pandas", "dicts")
_ATTEMPTS_MAX: Final = 4


class SqlCalls:
    """Part of `Api`, which knows paths."""

    if TYPE_CHECKING:
        _client: RetryingClient

        def _project_path(self, path: str | None) -> tuple[str, str]: ...

    def sql(
        self,
        query: str,
        path: str | Sequence[str] | None = None,
        filters: Mapping[str, Any] | None = None,
        format: Literal["arrow", "polars", "pandas", "dicts"] = "arrow",
        *,
        order: str | None = DEFAULT_ORDER,
        limit: int | None = None,
        timeout_s: float = 60.0,
        memory_limit: int = 1 << 30,
    ) -> Any:
        """The answer to one SELECT (DuckDB's dialect) over the views runs, history, system, console and facts.

        It is the same as `tracker query --sql`: the statement reads these views and nothing else, no file, network or
        setting, for at most `timeout_s` seconds and in `memory_limit` bytes.

        `path`: a project as for `runs`; several in a list; `entity/*`, `*/*` or any name with `*` in it, all that are
        like it. Every view has the columns `entity` and `project`. `filters`, `order` and `limit` choose, of each
        project, the runs that the views show. `format`: a pyarrow.Table, a polars or pandas DataFrame, or a list of
        dicts.

        Raises:
            UsageError: the statement is no single SELECT, or asks for what it may not; a limit was reached.
            ValueError: an unknown project (NoSuchProject), operator, field or format.
            Error: pandas or polars is not installed.
        """
        from tracker.query.sql_projects import SqlProjects
        from tracker.query.user_sql import run_user_sql, views_named

        if format not in _FORMATS:
            text = f"format must be one of {', '.join(_FORMATS)}, not {format!r}"
            raise CommValueError(text, ValueError(text))
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise UsageError(f"limit must be a number of runs, at least 1, not {limit!r}.")
        views_named(query, dict.fromkeys(SqlProjects.NAMES))
        where, by = parse_filter(dict(filters or {})), parse_order(order)
        names = self._projects_named(path)
        for attempt in range(_ATTEMPTS_MAX):
            try:
                chosen = []
                for name in names:
                    snapshot = self._client.snapshot(name.entity, name.project)
                    if not snapshot.runs and not self._client.has_project(name.entity, name.project):
                        raise NoSuchProject(f"could not find project {name} in {self._client.store.url}")
                    chosen.append((snapshot, find_runs(snapshot, where, by, limit=limit)[0]))
                table = run_user_sql(
                    query, SqlProjects(chosen, query), timeout_s=timeout_s, memory_limit=memory_limit
                )
                return _as_format(table, format)
            except PartsGone:  # parts were merged and deleted meanwhile: ask what is there now
                if attempt == _ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _projects_named(self, path: str | Sequence[str] | None) -> list[ProjectName]:
        """Each project once, in the order of the paths, those of a pattern by name. Raises NoSuchProject."""
        paths = [path] if path is None or isinstance(path, str) else list(path)
        if not paths:
            raise UsageError("path is an empty list. Name a project, or several.")
        found: dict[ProjectName, None] = {}
        for one in paths:
            entity, project = self._project_path(one)
            names = projects_like(self._client.store, entity, project)
            if not names:
                raise NoSuchProject(f"no project is like {entity}/{project} in {self._client.store.url}")
            found |= dict.fromkeys(names)
        return list(found)


def _as_format(table: pyarrow.Table, format: str) -> Any:
    if format == "arrow":
        return table
    if format == "dicts":
        return table.to_pylist()
    try:
        if format == "pandas":
            return table.to_pandas()
        import polars

        return polars.from_arrow(table)
    except ImportError as exc:
        raise Error(f'sql(format="{format}") needs the package {format}. Run: pip install {format}') from exc
