"""What a stretch of points is like: first, last, least, greatest, mean. Computed at once for many stretches, and
combined: the figures of neighbouring stretches give those of their union, so a series of any length is one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import numbers

__all__ = ["Stats", "combine_stats", "concat_stats", "means", "point_stats"]

_ADDED: Final = ("count", "nan_count", "other_count")


@dataclass(frozen=True, slots=True)
class Stats:
    """One entry a stretch, as `tracker.storage.derived` describes the columns. Where there is no number: NaN."""

    count: np.ndarray
    nan_count: np.ndarray
    other_count: np.ndarray
    first_step: np.ndarray
    last_step: np.ndarray
    first_v: np.ndarray
    last_v: np.ndarray
    first_is_number: np.ndarray
    last_is_number: np.ndarray
    min_v: np.ndarray
    max_v: np.ndarray
    mean_v: np.ndarray
    min_step: np.ndarray
    max_step: np.ndarray

    def __len__(self) -> int:
        return len(self.count)

    @property
    def value_count(self) -> np.ndarray:
        """Numbers without NaN."""
        return np.asarray(self.count - self.nan_count - self.other_count)

    def take(self, at: np.ndarray | slice) -> Stats:
        return Stats(*(getattr(self, field.name)[at] for field in fields(self)))

    def arrow(self, *, steps: np.ndarray | None = None) -> dict[str, pa.Array]:
        """Columns of a derived record. `steps` (bool): where there are steps at all; None: everywhere."""
        some = self.value_count > 0
        stepped = np.ones(len(self), bool) if steps is None else steps
        columns = {name: numbers(getattr(self, name), pa.int64()) for name in _ADDED}
        for name, valid in (
            ("first_step", stepped),
            ("last_step", stepped),
            ("min_step", stepped & some),
            ("max_step", stepped & some),
        ):
            columns[name] = numbers(getattr(self, name), pa.int64(), valid)
        for name, valid in (
            ("first_v", self.first_is_number),
            ("last_v", self.last_is_number),
            ("min_v", some),
            ("max_v", some),
            ("mean_v", some),
        ):
            columns[name] = numbers(getattr(self, name), pa.float64(), valid)
        return columns


def point_stats(starts: np.ndarray, step: np.ndarray, v: np.ndarray, is_number: np.ndarray) -> Stats:
    """Of the points of each stretch [starts[n], starts[n + 1]), which are in order. Every stretch has a point."""
    ends = np.append(starts[1:], len(step))
    nan = is_number & np.isnan(v)
    value = is_number & ~nan
    nan_count, other_count = (np.add.reduceat(mask.astype(np.int64), starts) for mask in (nan, ~is_number))
    count = ends - starts
    values = count - nan_count - other_count
    least = np.minimum.reduceat(np.where(value, v, np.inf), starts)
    most = np.maximum.reduceat(np.where(value, v, -np.inf), starts)
    return Stats(
        count=count,
        nan_count=nan_count,
        other_count=other_count,
        first_step=step[starts],
        last_step=step[ends - 1],
        first_v=v[starts],
        last_v=v[ends - 1],
        first_is_number=is_number[starts],
        last_is_number=is_number[ends - 1],
        min_v=np.where(values > 0, least, np.nan),
        max_v=np.where(values > 0, most, np.nan),
        mean_v=means(np.where(value, v, 0.0), starts, count, values),
        min_step=step[_first_equal(v, value, least, starts, count)],
        max_step=step[_first_equal(v, value, most, starts, count)],
    )


def combine_stats(stats: Stats, starts: np.ndarray) -> Stats:
    """The figures of each union of the neighbours [starts[n], starts[n + 1])."""
    if len(starts) == len(stats):
        return stats
    ends = np.append(starts[1:], len(stats))
    added = {name: np.add.reduceat(getattr(stats, name), starts) for name in _ADDED}
    values = added["count"] - added["nan_count"] - added["other_count"]
    some = stats.value_count > 0
    least = np.minimum.reduceat(np.where(some, stats.min_v, np.inf), starts)
    most = np.maximum.reduceat(np.where(some, stats.max_v, -np.inf), starts)
    share = stats.value_count / np.repeat(np.maximum(values, 1), ends - starts)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.add.reduceat(np.where(some, stats.mean_v * share, 0.0), starts)
    return Stats(
        **added,
        first_step=stats.first_step[starts],
        last_step=stats.last_step[ends - 1],
        first_v=stats.first_v[starts],
        last_v=stats.last_v[ends - 1],
        first_is_number=stats.first_is_number[starts],
        last_is_number=stats.last_is_number[ends - 1],
        min_v=np.where(values > 0, least, np.nan),
        max_v=np.where(values > 0, most, np.nan),
        mean_v=np.where(values > 0, means, np.nan),
        min_step=stats.min_step[_first_equal(stats.min_v, some, least, starts, ends - starts)],
        max_step=stats.max_step[_first_equal(stats.max_v, some, most, starts, ends - starts)],
    )


def concat_stats(pieces: Sequence[Stats]) -> Stats:
    """All entries, one piece after the other."""
    if len(pieces) == 1:
        return pieces[0]
    return Stats(*(np.concatenate([getattr(piece, field.name) for piece in pieces]) for field in fields(Stats)))


def _first_equal(
    v: np.ndarray, counts: np.ndarray, wanted: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """In each stretch the first place where v is `wanted` and counts; the stretch's first where there is none."""
    found = np.flatnonzero(counts & (v == np.repeat(wanted, lengths)))
    if not len(found):
        return starts
    at = np.searchsorted(found, starts)
    first = found[np.minimum(at, len(found) - 1)]
    return np.where((at < len(found)) & (first < starts + lengths), first, starts)


def means(v: np.ndarray, starts: np.ndarray, count: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of each stretch of `v`: `count` entries, of which `values` count and the others are 0; NaN without any.
    """
    divisor = np.maximum(values, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.add.reduceat(v, starts) / divisor
        if not np.isfinite(means).all():  # infinite values, or a sum beyond all doubles: then add shares
            means = np.add.reduceat(v / np.repeat(divisor, count), starts)
    return np.where(values > 0, means, np.nan)
