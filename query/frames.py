"""Answers as Arrow, polars and pandas, without a Python loop over rows, and as dicts, which are made last.

A column has the type of its values: floats, integers (floats where both occur, or an integer has more than 64
bits), booleans, strings. Lists and dicts become Arrow lists and structs where they agree, else JSON text. What
mixes text with other things is text in Arrow and polars; pandas keeps the objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.cells import ABSENT, MISSING, Column, Rows
from tracker.storage.events import Type

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = ["to_arrow", "to_dicts", "to_pandas", "to_polars"]

RUN_ID: Final = "run_id"

_COMPILED_WIDTH_MAX: Final = 200
_NUMBERS: Final = frozenset({Type.FLOAT, Type.INT, Type.BOOL})


def to_arrow(rows: Rows, run_ids: Sequence[str] | None = None) -> pa.Table:
    """One column a key, null where a row has none. With `run_ids` (by run number): sorted, `run_id` among them."""
    arrays = {name: _arrow_column(column) for name, column in rows.columns.items()}
    if run_ids is not None and len(rows):
        arrays[RUN_ID] = pa.array(run_ids, pa.string()).take(pa.array(rows.run))
        arrays = dict(sorted(arrays.items()))
    return pa.table(arrays)


def to_polars(rows: Rows, run_ids: Sequence[str] | None = None) -> polars.DataFrame:
    """As `to_arrow`. Raises ImportError where polars is not installed."""
    import polars

    frame = polars.from_arrow(to_arrow(rows, run_ids))
    assert isinstance(frame, polars.DataFrame)
    return frame


def to_pandas(rows: Rows, run_ids: Sequence[str] | None = None) -> pandas.DataFrame:
    """What `pandas.DataFrame.from_records` makes of the dicts: NaN where a row lacks a key, index 0..n-1, columns in
    the order in which rows first have them. No rows give no columns. With `run_ids`: sorted, `run_id` among them.

    Raises ImportError where pandas is not installed.
    """
    import pandas

    if not len(rows):
        return pandas.DataFrame()
    columns: dict[str, Any] = {name: _pandas_column(column) for name, column in rows.columns.items()}
    if run_ids is not None:
        columns[RUN_ID] = np.array(run_ids, dtype=object)[rows.run].tolist()
        return pandas.DataFrame(dict(sorted(columns.items())))
    first = {name: int(np.argmax(column.present)) for name, column in rows.columns.items()}
    return pandas.DataFrame({name: columns[name] for name in sorted(columns, key=lambda name: first[name])})


def to_dicts(rows: Rows, run_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One dict a row, keys in the order of the columns, absent keys left out, then `run_id`."""
    rows = Rows(rows.run, {name: column for name, column in rows.columns.items() if column.present.any()})
    names = list(rows.columns)
    lists = [column.to_list() for column in rows.columns.values()]
    holes = sum(int(np.count_nonzero(column.t == ABSENT)) for column in rows.columns.values())
    if run_ids is not None:
        names, lists = [*names, RUN_ID], [*lists, [run_ids[n] for n in rows.run.tolist()]]
    if not holes:
        return _dict_maker(len(names))(lists, *names) if names else [{} for _ in range(len(rows))]
    if 2 * holes < len(rows) * len(names):
        return [
            {name: value for name, value in zip(names, values, strict=True) if value is not MISSING}
            for values in zip(*lists, strict=True)
        ]
    found: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    for name, values, at in zip(names, lists, _filled(rows, len(names)), strict=True):
        for n in at:
            found[n][name] = values[n]
    return found


@lru_cache(maxsize=256)
def _dict_maker(width: int) -> Callable[..., list[dict[str, Any]]]:
    """A function of (columns as lists, *names) to dicts: half again as fast as dict(zip(...)) for each row.

    The text that is compiled follows from `width` alone; names are arguments of it.
    """
    if width > _COMPILED_WIDTH_MAX:
        return lambda lists, *names: [dict(zip(names, values, strict=False)) for values in zip(*lists, strict=True)]
    names, values = ([f"{letter}{n}" for n in range(width)] for letter in "nv")
    pairs = ", ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True))
    text = f"lambda lists, {', '.join(names)}: [{{{pairs}}} for {', '.join(values)}, in zip(*lists, strict=True)]"
    return cast("Callable[..., list[dict[str, Any]]]", eval(text))


def _filled(rows: Rows, width: int) -> list[Any]:
    """Per column the rows that have a cell; all rows for a column that is not a key's."""
    found: list[Any] = [np.flatnonzero(column.present).tolist() for column in rows.columns.values()]
    return found + [range(len(rows))] * (width - len(found))


def _arrow_column(column: Column) -> pa.Array:
    types = column.types() - {ABSENT, Type.NULL}
    holes = (column.t == ABSENT) | (column.t == Type.NULL)
    mask = holes if holes.any() else None
    if not types:
        return pa.nulls(len(column))
    if types == {Type.INT} and column.i is not None and column.i.null_count == np.count_nonzero(holes):
        return column.i
    if types == {Type.BOOL}:
        return pa.array(column.v != 0, mask=mask)
    if types <= _NUMBERS:
        return pa.array(column.v, mask=mask)
    if types == {Type.STRING}:
        return column.s
    values = column.to_list()
    if types == {Type.JSON}:
        try:
            return pa.array([None if value is MISSING else value for value in values])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return column.s  # they do not agree: JSON text
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is MISSING or value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _pandas_column(column: Column) -> Any:
    import pandas

    types = column.types()
    if types <= {Type.FLOAT, ABSENT, Type.NULL} and Type.FLOAT in types:
        return column.v
    if column.i is not None and types <= {Type.INT, Type.FLOAT, ABSENT, Type.NULL} and Type.INT in types:
        exact = pc.sum(pc.is_valid(column.i)).as_py() == int(np.count_nonzero(column.t == Type.INT))
        if types == {Type.INT} and exact:
            return column.i.to_numpy()
        if exact:
            return column.v
    if types == {Type.BOOL}:
        return column.v != 0
    return pandas.Series([float("nan") if value is MISSING else value for value in column.to_list()])
