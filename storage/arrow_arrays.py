"""Arrow arrays straight from buffers.

`pyarrow.array` imports pandas (0.2 s, 30 MB) as soon as pandas is installed, whatever it is given. A
training process must not pay for that, so its side of the store builds arrays, and looks into them, with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "booleans",
    "codes_of",
    "numbers",
    "one_chunk",
    "own_words",
    "rows_at",
    "same_text",
    "texts",
    "valid_of",
    "values_of",
]

Bits = Any  # a numpy array; its element type is checked by the caller


def numbers(values: Bits, kind: pa.DataType, valid: Bits | None = None) -> pa.Array:
    """A primitive Arrow array over the numpy array's own memory; null where `valid` (bool) is False."""
    contiguous = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(contiguous), [_bitmap(valid), pa.py_buffer(contiguous)])


def booleans(values: Bits) -> pa.Array:
    """A boolean Arrow array of the numpy array (bool)."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bitmap(values)])


def texts(values: Sequence[str], at: Bits | None = None) -> pa.Array:
    """A string array of `values`; or, with `at`, of values[n] for each n in `at`, null where n is below 0."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(data) for data in encoded], out=offsets[1:])
    array = pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
    if at is None:
        return array
    if not encoded:
        return pa.nulls(len(at), pa.string())
    return array.take(numbers(np.maximum(at, 0), pa.int64(), at >= 0))


def same_text(word: str, count: int) -> pa.DictionaryArray:
    """`word` `count` times, as a dictionary array."""
    return pa.DictionaryArray.from_arrays(numbers(np.zeros(count, np.int32), pa.int32()), texts([word]))


def values_of(array: pa.Array) -> Bits:
    """A primitive array's own memory as numpy, without a copy; anything where it is null (`valid_of`)."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def valid_of(array: pa.Array) -> Bits | None:
    """Which values are not null (bool), or None where none is."""
    if not array.null_count:
        return None
    first = array.offset % 8
    bits = np.frombuffer(array.buffers()[0], np.uint8, offset=array.offset // 8)
    return np.unpackbits(bits, count=first + len(array), bitorder="little")[first:].view(bool)


def codes_of(array: pa.DictionaryArray) -> Bits:
    """Codes of a dictionary array (int32); -1 where it is null."""
    codes = values_of(array.indices)
    valid = valid_of(array.indices)
    return codes if valid is None else np.where(valid, codes, np.int32(-1))


def rows_at(table: pa.Table, at: Bits, pool: pa.MemoryPool | None = None) -> pa.Table:
    """The rows of `table` with these numbers, in this order."""
    return pc.take(table, numbers(at, pa.int64()), memory_pool=pool)


def one_chunk(table: pa.Table, pool: pa.MemoryPool | None = None) -> pa.Table:
    """The same rows, every column one chunk, its dictionary in the order in which words come up."""
    if all(column.num_chunks == 1 for column in table.columns):
        return table
    return table.unify_dictionaries(pool).combine_chunks(pool)


def own_words(table: pa.Table) -> pa.Table:
    """Dictionaries of just the words that occur: a file keeps each row group's dictionary whole."""
    for n, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        array = table.column(n).chunk(0)
        codes = codes_of(array)
        used = np.zeros(len(array.dictionary) + 1, bool)
        used[codes] = True
        if used[:-1].all():
            continue
        place = np.cumsum(used[:-1], dtype=np.int32) - np.int32(1)
        indices = numbers(np.append(place, np.int32(0))[codes], pa.int32(), None if not used[-1] else codes >= 0)
        words = array.dictionary.take(numbers(np.flatnonzero(used[:-1]), pa.int64()))
        table = table.set_column(n, field, pa.DictionaryArray.from_arrays(indices, words))
    return table


def _bitmap(valid: Bits | None) -> pa.Buffer | None:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
