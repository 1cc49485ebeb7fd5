"""What a value becomes when it is stored: one table for history, one each for config and summary.

Plain results are None, bool, int, float, str, and lists and dicts of them. Nothing is imported to
recognise an array (see arrays.py).
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import types
from collections.abc import Mapping
from typing import Any, Final

from tracker.sdk.arrays import array_of, histogram_of, is_array, statistics_of
from tracker.sdk.media import InlineValue, MediaFile, MediaPlace, media_json

__all__ = ["PLAIN", "config_value", "history_value", "key_text", "summary_value"]

PLAIN: Final = frozenset({int, float, str, bool, type(None)})
_SMALL: Final = 32  # elements; longer arrays are summarised
_DEPTH_MAX: Final = 64
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)


def history_value(value: Any, key: str, depth: int = 0, place: MediaPlace | None = None) -> Any:
    """The plain form of a logged value (VAL-1). `place` keeps the bytes of media; without one they are refused.

    Raises:
        TypeError: no stored form; the message names `key` (VAL-2).
        ValueError: nested deeper than 64 levels, or bytes that are no UTF-8.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, Mapping):
        inner = _descend(key, depth)
        texts = {key_text(name, key): item for name, item in value.items()}
        return {text: history_value(item, f"{key}.{text}", inner, place) for text, item in texts.items()}
    if isinstance(value, list | tuple | set):
        inner = _descend(key, depth)
        grouped = media_json(list(value), key, place)
        return [history_value(item, key, inner, place) for item in value] if grouped is None else grouped
    if isinstance(value, InlineValue | MediaFile):
        return value.as_json(key, place)
    if is_array(value):
        return _array_value(value, key, depth)
    done, plain = _simple(value)
    if done:
        return plain
    raise TypeError(
        f"The value of {key!r} has type {type(value).__module__}.{type(value).__qualname__}, which can not be logged. "
        f"Log numbers, strings, arrays, lists or dicts of them."
    )


def summary_value(value: Any, key: str, place: MediaPlace | None = None) -> Any:
    """As history, but NaN becomes None (SUM-5) and a long array its statistics (SUM-6). Raises as `history_value`."""
    if is_array(value):
        array = array_of(value)
        if array.size > _SMALL and array.dtype.kind in "biuf":
            return statistics_of(array)
    return _without_nan(history_value(value, key, place=place))


def config_value(value: Any, key: str, depth: int = 0) -> Any:
    """The JSON-friendly form of a config value (CFG-6). Keys of nested dicts stay as they are.

    Raises:
        TypeError: a complex number.
        ValueError: nested deeper than 64 levels, or a media value (CFG-7).
    """
    if type(value) in PLAIN:
        return None if value != value else value
    if isinstance(value, complex):
        raise TypeError(f"The config value of {key!r} is complex, which has no stored form. Store its two parts.")
    if isinstance(value, InlineValue | MediaFile):
        raise ValueError(f"The config value of {key!r} is a {type(value).__name__}: media are logged, not configured.")
    if isinstance(value, Mapping):
        inner = _descend(key, depth)
        return {name: config_value(item, key, inner) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        inner = _descend(key, depth)
        return [config_value(item, key, inner) for item in value]
    if is_array(value):
        array = array_of(value)
        if array.size == 1:
            return config_value(_element(array), key, depth)
        return config_value(array.tolist(), key, depth) if array.size <= _SMALL else str(array)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = _descend(key, depth)
        return {f.name: config_value(getattr(value, f.name), key, inner) for f in dataclasses.fields(value)}
    if isinstance(value, slice):
        return {"slice_start": value.start, "slice_step": value.step, "slice_stop": value.stop}
    try:
        done, plain = _simple(value)
    except UnicodeDecodeError:
        done, plain = False, None
    return _without_nan(plain) if done else str(value)


def key_text(key: Any, where: str) -> str:
    """A dict's key as JSON writes it (HIST-18).

    Raises:
        TypeError: a key that JSON has no text for, numpy integers among them.
    """
    if isinstance(key, str):
        return str.__str__(key)
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if type(key) in (int, float):
        return repr(key)
    raise TypeError(
        f"A dict inside {where!r} has a key of type {type(key).__name__}: {key!r:.80}. "
        f"Use str, int, float, bool or None."
    )


def _simple(value: Any) -> tuple[bool, Any]:
    """(True, plain form) for what needs no look inside, else (False, None). Subclasses count."""
    if isinstance(value, enum.Enum):
        return True, value.name
    if isinstance(value, bool):
        return True, bool(value)
    if isinstance(value, str):
        return True, str.__str__(value)
    if isinstance(value, int):
        return True, int(value)
    if isinstance(value, float):
        return True, float(value)
    if isinstance(value, datetime.datetime | datetime.date):
        return True, value.isoformat()
    if isinstance(value, bytes):
        return True, value.decode("utf-8")
    if isinstance(value, _FUNCTIONS):
        return True, f"{value.__module__}.{value.__qualname__}"
    return False, None


def _array_value(value: Any, key: str, depth: int) -> Any:
    array = array_of(value)
    if array.size == 1:
        return history_value(_element(array), key, _descend(key, depth))
    if array.size <= _SMALL:
        return history_value(array.astype(str).tolist() if array.dtype.kind == "M" else array.tolist(), key, depth)
    try:
        return histogram_of(array)
    except TypeError as exc:
        raise TypeError(f"The value of {key!r} can not be logged. {exc}") from None


def _element(array: Any) -> Any:
    """The one element as a Python value."""
    if array.dtype.kind == "M":
        return str(array.astype(str).item())
    element = array.item()
    return float(element) if array.dtype.kind == "f" else element  # a long double stays numpy's otherwise


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return value


def _descend(key: str, depth: int) -> int:
    if depth >= _DEPTH_MAX:
        raise ValueError(f"The value of {key!r} is nested deeper than {_DEPTH_MAX} levels, or contains itself.")
    return depth + 1
