"""Arrow arrays straight from buffers.

`pyarrow.array` imports pandas (0.2 s, 30 MB) as soon as pandas is installed, whatever it is given. A
training process must not pay for that, so its side of the store builds arrays with these two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["numbers", "texts"]

Bits = Any  # a numpy array; its element type is checked by the caller


def numbers(values: Bits, kind: pa.DataType, valid: Bits | None = None) -> pa.Array:
    """A primitive Arrow array over the numpy array's own memory; null where `valid` (bool) is False."""
    contiguous = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(contiguous), [_bitmap(valid), pa.py_buffer(contiguous)])


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


def _bitmap(valid: Bits | None) -> pa.Buffer | None:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
