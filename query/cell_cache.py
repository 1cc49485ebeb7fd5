"""Cells that were read once, kept in memory per part and key: a plot with one more run reads only what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.query.cell_reader import CellBatch, read_cells
from tracker.query.history_plan import Paths
from tracker.query.memory_cache import MemoryCache
from tracker.query.run_files import RunPart
from tracker.storage.events import Type

__all__ = ["cached_cells"]

_CACHE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class _Piece:
    """All cells of one key in one part, in the file's order."""

    row: np.ndarray
    seq: np.ndarray
    t: np.ndarray
    v: np.ndarray
    i: pa.Array | None
    s: pa.Array | None

    @property
    def size_bytes(self) -> int:
        texts = sum(column.nbytes for column in (self.i, self.s) if column is not None)
        return 25 * len(self.row) + int(texts) + 512


_pieces: MemoryCache[_Piece] = MemoryCache(_CACHE_BYTES)


def cached_cells(parts: Sequence[RunPart], paths: Paths, keys: Sequence[str], *, floats_only: bool) -> CellBatch:
    """As `read_cells` without a limit of steps. Cells of packs, of cut parts and of the past are not kept.

    Of parts with limits all cells may come, but those of later frames: rows that do not count are nowhere.
    """
    limits, steps = [part.upto_seq for part in parts], [part.upto_step for part in parts]
    parts = [part if part.whole is None or not _is_kept(part) else part.whole for part in parts]
    if floats_only and any(limit is not None for limit in steps):  # beyond it there may be something else
        floats_only = all(part.keys[key].types == 1 << Type.FLOAT for part in parts for key in keys if key in part.keys)
    whole = [n for n, part in enumerate(parts) if part.whole is None and _is_kept(part)]
    names = dict(zip(whole, map(str, paths([parts[n] for n in whole])), strict=True))
    found = [[_pieces.get((names[n], key)) if n in names else None for key in keys] for n in range(len(parts))]
    missing = [n for n, pieces in enumerate(found) if None in pieces]
    if missing:
        batch = read_cells([parts[n] for n in missing], paths, keys, floats_only=floats_only, steps=None)
        for at, pieces in zip(missing, _split(batch, len(missing), len(keys)), strict=True):
            found[at] = list(pieces)
            for key, piece in zip(keys, pieces, strict=True):
                if at in names:
                    _pieces.put((names[at], key), piece, piece.size_bytes)
    batch = _joined(found)
    return batch if all(limit is None for limit in limits) else batch.upto(limits)


def _is_kept(part: RunPart) -> bool:
    return not part.packed and not part.is_cut and part.upto_hlc_us is None


def _split(batch: CellBatch, files: int, keys: int) -> list[list[_Piece]]:
    """Per file the pieces of each key."""
    place = batch.file.astype(np.int64) * keys + batch.code
    order = np.argsort(place, kind="stable") if len(place) and (np.diff(place) < 0).any() else np.arange(len(place))
    ends = np.cumsum(np.bincount(place, minlength=files * keys))
    starts = np.concatenate(([0], ends[:-1]))
    pieces = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        at = order[start:end]
        pieces.append(
            _Piece(
                batch.row[at],
                batch.seq[at],
                batch.t[at],
                batch.v[at],
                None if batch.i is None else batch.i.take(pa.array(at)).combine_chunks(),
                None if batch.s is None else batch.s.take(pa.array(at)).combine_chunks(),
            )
        )
    return [pieces[n : n + keys] for n in range(0, files * keys, keys)]


def _joined(found: Sequence[Sequence[_Piece | None]]) -> CellBatch:
    held = [
        (n, code, piece) for n, pieces in enumerate(found) for code, piece in enumerate(pieces) if piece is not None
    ]
    counts = [len(piece.row) for _, _, piece in held]
    plain = all(piece.i is None for _, _, piece in held)
    return CellBatch(
        file=np.repeat(np.array([n for n, _, _ in held], np.int64), counts),
        code=np.repeat(np.array([code for _, code, _ in held], np.int64), counts),
        row=np.concatenate([piece.row for _, _, piece in held]),
        seq=np.concatenate([piece.seq for _, _, piece in held]),
        t=np.concatenate([piece.t for _, _, piece in held]),
        v=np.concatenate([piece.v for _, _, piece in held]),
        i=None if plain else pa.chunked_array([_or_nulls(piece.i, len(piece.row), pa.int64()) for _, _, piece in held]),
        s=None
        if plain
        else pa.chunked_array([_or_nulls(piece.s, len(piece.row), pa.string()) for _, _, piece in held]),
    )


def _or_nulls(column: pa.Array | None, count: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(count, kind) if column is None else column
