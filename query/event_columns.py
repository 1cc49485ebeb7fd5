"""Columns of events as numpy arrays. The tables have one chunk."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, valid_of, values_of

__all__ = ["floats", "ints", "words_and_codes"]


def words_and_codes(events: pa.Table, name: str) -> tuple[list[Any], np.ndarray]:
    """Words, and each row's number in them, -1 for null."""
    column = events[name]
    if not column.num_chunks:
        return [], np.empty(0, np.int32)
    chunk = column.chunk(0)
    return chunk.dictionary.to_pylist(), codes_of(chunk)


def ints(events: pa.Table, name: str) -> np.ndarray:
    return _filled(events[name], 0)


def floats(events: pa.Table, name: str) -> np.ndarray:
    return _filled(events[name], math.nan)


def _filled(column: pa.ChunkedArray, instead: float) -> np.ndarray:
    """The numbers of a column of one chunk, `instead` where it is null."""
    if not column.num_chunks:
        return np.empty(0, column.type.to_pandas_dtype())
    chunk = column.chunk(0)
    valid = valid_of(chunk)
    return np.asarray(values_of(chunk) if valid is None else np.where(valid, values_of(chunk), instead))
