"""Who an event belongs to, as a number: (run, writer) pairs of a merge in order, and where each stands in a table."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of

__all__ = ["Owners"]


class Owners:
    """The (run, writer) pairs whose events are merged, numbered in their order."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = sorted(set(pairs))
        self._number = {pair: n for n, pair in enumerate(self.pairs)}

    def __len__(self) -> int:
        return len(self.pairs)

    def number(self, run: str, writer: str) -> int:
        return self._number[run, writer]

    def of(self, events: pa.Table) -> np.ndarray:
        """The owner of each event (one chunk a column). Tables without columns run and writer are all of the first."""
        if "run" not in events.column_names:
            return np.zeros(events.num_rows, np.int64)
        run, writer = events["run"].chunk(0), events["writer"].chunk(0)
        runs, writers = run.dictionary.to_pylist(), writer.dictionary.to_pylist()
        pair = codes_of(run).astype(np.int64) * len(writers) + codes_of(writer)
        starts = np.concatenate(([0], np.flatnonzero(pair[1:] != pair[:-1]) + 1))
        numbers_of = {
            one: self._number[runs[one // len(writers)], writers[one % len(writers)]]
            for one in set(pair[starts].tolist())
        }
        of_start = np.array([numbers_of[one] for one in pair[starts].tolist()], np.int64)
        return np.repeat(of_start, np.diff(np.append(starts, len(pair))))
