"""Ranks of words that come up block by block: which of two dictionary codes of different blocks sorts first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import numbers, valid_of, values_of

__all__ = ["WordRanks"]


class WordRanks:
    """The words met so far, in order. `version` rises when a new one moves the ranks of others."""

    def __init__(self, first: Callable[[str], bool] | None = None) -> None:
        """`first`: words that sort before all others (asked once a word: only for columns of few words)."""
        self._first = first
        self._words: pa.Array | None = None
        self.version = 0

    def ranks(self, dictionary: pa.Array) -> np.ndarray:
        """The rank of each word of `dictionary` (which has no nulls) among all words met so far."""
        if self._words is None:
            self._sort(dictionary)
        found = pc.index_in(dictionary, value_set=self._words)
        known = valid_of(found)
        if known is not None:
            missing = numbers(np.flatnonzero(~known), pa.int64())
            self._sort(pa.concat_arrays([self._words, dictionary.take(missing)]))
            found = pc.index_in(dictionary, value_set=self._words)
        return np.asarray(values_of(found), np.int64)

    def _sort(self, words: pa.Array) -> None:
        self.version += 1
        if self._first is None:
            self._words = words.take(pc.sort_indices(words))
            return
        listed = words.to_pylist()
        order = sorted(range(len(listed)), key=lambda n: (not self._first(listed[n]), listed[n]))  # type: ignore[misc]
        self._words = words.take(numbers(np.array(order, np.int64), pa.int64()))
