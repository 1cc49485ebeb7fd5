"""Arrays of any library as numpy arrays, told by their shape and names: no library is imported to find out."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["array_of", "histogram_of", "is_array", "statistics_of"]

_TABLES = ("pandas", "polars", "pyarrow")


def is_array(value: Any) -> bool:
    """Whether `value` is an array or scalar of numpy, torch, tensorflow, jax or one that behaves like them."""
    kind = type(value)
    if kind.__module__.partition(".")[0] in _TABLES:
        return False
    return hasattr(kind, "dtype") and hasattr(kind, "shape")


def array_of(value: Any) -> Any:
    """The numpy array with the same elements, on the CPU, without gradient; bfloat16 becomes float32.

    Raises:
        TypeError: the library refuses the conversion.
    """
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach()
        if getattr(value, "is_sparse", False):
            value = value.to_dense()
        value = value.cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        if hasattr(value, "resolve_conj"):
            value = value.resolve_conj().resolve_neg()
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def histogram_of(array: Any, bins: int = 32) -> Any:
    """Histogram JSON over the finite elements; NaN when there is none.

    Raises:
        TypeError: the elements are no numbers.
    """
    import numpy as np

    try:
        flat = array.reshape(-1).astype(np.float64, casting="unsafe" if array.dtype.kind in "biufO" else "no")
    except (TypeError, ValueError):
        raise TypeError(
            f"An array of {array.size} elements of type {array.dtype} has no histogram. Log numbers, or a list."
        ) from None
    finite = flat[np.isfinite(flat)]
    if not finite.size:
        return math.nan
    counts, edges = np.histogram(finite, bins=bins)
    return {"_type": "histogram", "values": counts.tolist(), "bins": edges.tolist()}


def statistics_of(array: Any) -> dict[str, Any]:
    """What the summary keeps of a long array (SUM-6)."""
    import numpy as np

    flat = array.reshape(-1).astype(np.float64)
    ranks = np.percentile(flat, [10, 25, 75, 90])
    return {
        "_type": "numpy.ndarray",
        "var": float(flat.var()),
        "mean": float(flat.mean()),
        "min": float(flat.min()),
        "max": float(flat.max()),
        "10%": float(ranks[0]),
        "25%": float(ranks[1]),
        "75%": float(ranks[2]),
        "90%": float(ranks[3]),
        "size": int(flat.size),
    }
