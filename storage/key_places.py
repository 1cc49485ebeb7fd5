"""In which order a writer first logged its keys: a merged file is sorted by key, so this must be carried along."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import codes_of, texts, values_of

__all__ = ["KeyPlaces"]


class KeyPlaces:
    """Keys of each owner in the order in which they were added."""

    def __init__(self) -> None:
        self._owners: list[np.ndarray] = []
        self._places: list[np.ndarray] = []
        self._words: list[pa.Array] = []
        self._next: dict[int, int] = {}

    def add(self, owner: int, words: pa.Array) -> None:
        """Keys of one file of the owner as first logged; files in the order of their frames. Known ones may recur."""
        begin = self._next.get(owner, 0)
        self._next[owner] = begin + len(words)
        self._owners.append(np.full(len(words), owner, np.int64))
        self._places.append(np.arange(begin, begin + len(words), dtype=np.int64))
        self._words.append(words)

    def places(self, owner: np.ndarray, keys: pa.Array) -> np.ndarray:
        """Where each (owner, key) stands among the keys of its owner; what was never added stands behind, by its
        letters.
        """
        if not len(keys):
            return np.empty(0, np.int64)
        together = pc.dictionary_encode(pa.concat_arrays([*self._words, texts([]), keys]))
        words, codes = together.dictionary, codes_of(together).astype(np.int64)
        begin = len(codes) - len(keys)
        held = np.concatenate([np.empty(0, np.int64), *self._owners]) * len(words) + codes[:begin]
        place = np.concatenate([np.empty(0, np.int64), *self._places])
        letters = np.empty(len(words), np.int64)
        letters[values_of(pc.sort_indices(words)).astype(np.int64)] = np.arange(len(words))
        unknown = letters[codes[begin:]] + (int(place.max()) + 1 if len(place) else 0)
        if not len(held):
            return np.asarray(unknown)
        order = np.argsort(held, kind="stable")  # of equal ones the first was added first
        mine = owner * len(words) + codes[begin:]
        at = np.minimum(np.searchsorted(held[order], mine), len(held) - 1)
        return np.asarray(np.where(held[order][at] == mine, place[order][at], unknown))
