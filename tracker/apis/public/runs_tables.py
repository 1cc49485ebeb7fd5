"""Runs as one table of typed columns: Arrow, polars, pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracker.errors import Error
from tracker.query.runs_table import runs_reader, runs_table

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from tracker.apis.public.client import RetryingClient
    from tracker.query.snapshot import Snapshot

__all__ = ["RunTables", "pandas_of"]


class RunTables:
    """Part of `Runs`. One row a run, in the collection's order, without making a `Run` of any.

    Columns: the fields of the run (id, name, state, created_at, heartbeat_at, duration in seconds, entity, project,
    group, job_type, username, host, sweep, commit, notes, tags), then `config.<path>`, then `summary.<path>`, each
    sorted by name. `columns` selects and orders; a name that is none of these is a metric's, and means its summary.

    A column of config or summary has the type of its values: integers, floats, booleans or text; floats where integers
    and floats meet; JSON text where other types meet, and for lists and dicts. Null where a run has no such value.
    """

    client: RetryingClient

    if TYPE_CHECKING:

        def _fresh(self) -> tuple[list[str], Snapshot]: ...
        def _open(self) -> Snapshot: ...

    def to_arrow(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """The runs as a pyarrow.Table.

        Raises:
            TypeError: `columns` is no list of names. NoSuchProject: the store holds no run of the project.
        """
        ids, snapshot = self._fresh()
        return self.client.read(lambda snapshot: runs_table(snapshot, ids, columns), snapshot, self._open)

    def to_arrow_reader(self, columns: Sequence[str] | None = None) -> pyarrow.RecordBatchReader:
        """The same rows as a pyarrow.RecordBatchReader: read as they are consumed, in the memory of one batch."""
        ids, snapshot = self._fresh()
        return self.client.read(
            lambda snapshot: runs_reader(snapshot, ids, columns, again=self._open), snapshot, self._open
        )

    def to_polars(self, columns: Sequence[str] | None = None) -> polars.DataFrame:
        """The runs as a polars.DataFrame. Raises Error where polars is not installed; else as `to_arrow`."""
        try:
            import polars
        except ImportError as exc:
            raise Error("to_polars needs the package polars. Run: pip install polars") from exc
        frame = polars.from_arrow(self.to_arrow(columns))
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_pandas(self, columns: Sequence[str] | None = None) -> pandas.DataFrame:
        """The runs as a pandas.DataFrame with an index 0..n-1.

        Integers and booleans with holes have the types `Int64` and `boolean`, which keep every digit; floats have NaN.

        Raises:
            Error: pandas is not installed. Else as `to_arrow`.
        """
        try:
            return pandas_of(self.to_arrow(columns))
        except ImportError as exc:
            raise Error("to_pandas needs the package pandas. Run: pip install pandas") from exc


def pandas_of(table: pyarrow.Table) -> pandas.DataFrame:
    """The table as a frame; integers and booleans with holes as pandas' own types with holes.

    Raises ImportError where pandas is not installed.
    """
    import pandas
    import pyarrow

    own: dict[Any, Any] = {pyarrow.int64(): pandas.Int64Dtype(), pyarrow.bool_(): pandas.BooleanDtype()}
    frame = table.to_pandas()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and column.type in own:
            frame[name] = column.to_pandas(types_mapper=own.get)
    return frame
