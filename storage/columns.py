"""Frames to events: decoded frames of one writer become one Arrow table with the schema's columns.

This runs beside the training, under the same interpreter lock. So frames are taken in small chunks, a
chunk goes through C loops (map, numpy), and between chunks `breathe` lets the training thread in.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from tracker.storage.alike import AlikeRows
from tracker.storage.arrow_arrays import numbers, texts
from tracker.storage.events import HISTORY, INT64_MAX, INT64_MIN, KIND_LOST, ROW, Type, encode_cell
from tracker.storage.frames import Facts, Frame, Log, Lost, Points, unpack_value
from tracker.storage.schema import SCHEMA

__all__ = ["EventBuilder"]

_CHUNK_CELLS: Final = 1024
_OTHER: Final = 99
_TYPE_OF: Final = {float: 0, int: 1, bool: 2, str: 3, type(None): 5, msgspec.msgpack.Ext: _OTHER}


class _Names:
    """Strings to dictionary codes; -1 stands for null."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def code(self, name: str | None) -> int:
        if name is None:
            return -1
        return self.codes.setdefault(name, len(self.codes))

    def array(self, codes: np.ndarray) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(numbers(codes, pa.int32(), codes >= 0), texts(list(self.codes)))


class EventBuilder:
    """Collects frames in sequence order; `table` gives their events."""

    def __init__(self, breathe: Callable[[], None] = lambda: None) -> None:
        self._breathe = breathe
        self._columns: dict[str, list[np.ndarray]] = {name: [] for name in _NUMPY_COLUMNS}
        self._texts: list[str] = []
        self._kinds, self._keys, self._subjects = _Names(), _Names(), _Names()
        self._layouts: dict[tuple[str, ...], list[int]] = {}
        self._reset_chunk()

    def add(self, seq: int, frame: Frame) -> None:
        match frame:
            case Log():
                self._add_points(seq, frame.hlc_us, frame.ts_us, HISTORY, frame.cells, frame.row, frame.step)
                for mark in frame.closes:
                    self._marks.append((seq, frame.hlc_us, mark.ts_us, mark.row, mark.step, mark.runtime_s))
            case Points():
                self._add_points(seq, frame.hlc_us, frame.ts_us, frame.kind, frame.cells, -1, -1)
            case Facts():
                for kind, subject, path, packed in frame.facts:
                    self._facts.append((seq, frame.hlc_us, frame.ts_us, kind, subject, path, unpack_value(packed)))
            case Lost():
                self._facts.append((seq, frame.hlc_us, frame.ts_us, KIND_LOST, None, str(seq), frame.reason))
        if len(self._flat) + len(self._marks) + len(self._facts) >= _CHUNK_CELLS:
            self._close_chunk()

    def add_alike(self, seq: int, rows: AlikeRows) -> None:
        """The same as `add` of each of these calls, the first of which is frame `seq`."""
        seqs = np.arange(seq, seq + rows.count)
        shared = {"seq": seqs, "hlc": rows.hlc, "row": rows.row, "step": rows.step}
        shared["has_row"] = np.ones(rows.count, np.int8)
        ts = rows.ts.astype(np.int64) - rows.hlc.astype(np.int64)
        kind = np.full(rows.count, self._kinds.code(HISTORY), np.int32)
        for key, type_, values in rows.cells:
            cell: dict[str, np.ndarray] = {"key": np.full(rows.count, self._keys.code(key), np.int32)}
            if type_ is not Type.FLOAT:
                cell["t"] = np.full(rows.count, type_, np.int8)
            if type_ in (Type.INT, Type.BOOL):
                cell |= {"i": values, "has_i": np.ones(rows.count, np.int8)}
            self._emit(**shared, ts=ts, kind=kind, v=values, **cell)
            self._breathe()
        ts = rows.mark_ts.astype(np.int64) - rows.hlc.astype(np.int64)
        self._emit(**shared, ts=ts, kind=np.full(rows.count, self._kinds.code(ROW), np.int32), v=rows.runtime_s)

    def table(self) -> pa.Table:
        """All events, with SCHEMA, in no particular order. Ends the builder."""
        self._close_chunk()
        joined = {}
        for name, dtype in _NUMPY_COLUMNS.items():
            pieces = self._columns.pop(name)  # what is joined is not kept twice
            joined[name] = np.concatenate(pieces) if pieces else np.empty(0, dtype)
            self._breathe()
        in_row, t = joined["has_row"] == 1, joined["t"]
        columns = {
            "seq": numbers(joined["seq"], pa.int64()),
            "row": numbers(joined["row"], pa.int64(), in_row),
            "hlc": numbers(joined["hlc"], pa.int64()),
            "ts": numbers(joined["ts"], pa.int64()),
            "kind": self._kinds.array(joined["kind"]),
            "subject": self._subjects.array(joined["subject"]),
            "step": numbers(joined["step"], pa.int64(), in_row),
            "key": self._keys.array(joined["key"]),
            "t": numbers(t, pa.int8()),
            "v": numbers(joined["v"], pa.float64(), t <= Type.BOOL),
            "i": numbers(joined["i"], pa.int64(), joined["has_i"] == 1),
            "s": texts(self._texts, joined["text"]),
        }
        self._breathe()
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _reset_chunk(self) -> None:
        self._heads: list[tuple[int, int, int, int, int, int, int]] = []
        self._counts: list[int] = []
        self._key_codes: list[int] = []
        self._flat: list[Any] = []
        self._marks: list[tuple[int, int, int, int, int, float]] = []
        self._facts: list[tuple[int, int, int, str, str | None, str, Any]] = []

    def _add_points(self, seq: int, hlc: int, ts: int, kind: str, cells: dict[str, Any], row: int, step: int) -> None:
        layout = tuple(cells)
        codes = self._layouts.get(layout)
        if codes is None:
            if len(self._layouts) > 1000:  # keys that change with every call: keep no record of them
                self._layouts.clear()
            codes = self._layouts[layout] = [self._keys.code(key) for key in layout]
        has_row = int(kind == HISTORY)
        self._heads.append((seq, row, hlc, ts - hlc, self._kinds.code(kind), step, has_row))
        self._counts.append(len(codes))
        self._key_codes += codes
        self._flat += cells.values()

    def _close_chunk(self) -> None:
        if self._heads:
            self._emit_points()
        if self._marks:
            self._emit_marks()
        if self._facts:
            self._emit_facts()
        self._reset_chunk()
        self._breathe()

    def _emit_points(self) -> None:
        heads = np.array(self._heads, np.int64)
        counts = np.array(self._counts, np.int64)
        at = np.repeat(np.arange(len(heads)), counts)
        wide = heads[at]
        values = self._values(self._flat)
        self._emit(
            seq=wide[:, 0],
            row=wide[:, 1],
            hlc=wide[:, 2],
            ts=wide[:, 3],
            kind=wide[:, 4],
            step=wide[:, 5],
            has_row=wide[:, 6],
            key=np.array(self._key_codes, np.int64),
            **values,
        )

    def _emit_marks(self) -> None:
        marks = np.array([mark[:5] for mark in self._marks], np.int64)
        self._emit(
            seq=marks[:, 0],
            row=marks[:, 3],
            hlc=marks[:, 1],
            ts=marks[:, 2] - marks[:, 1],
            kind=np.full(len(marks), self._kinds.code(ROW)),
            step=marks[:, 4],
            has_row=np.ones(len(marks), np.int64),
            v=np.array([mark[5] for mark in self._marks], np.float64),
        )

    def _emit_facts(self) -> None:
        heads = np.array([(seq, hlc, ts - hlc) for seq, hlc, ts, *_ in self._facts], np.int64)
        self._emit(
            seq=heads[:, 0],
            hlc=heads[:, 1],
            ts=heads[:, 2],
            kind=np.array([self._kinds.code(fact[3]) for fact in self._facts]),
            subject=np.array([self._subjects.code(fact[4]) for fact in self._facts]),
            key=np.array([self._keys.code(fact[5]) for fact in self._facts]),
            **self._values([fact[6] for fact in self._facts]),
        )

    def _emit(self, *, seq: np.ndarray, **given: np.ndarray) -> None:
        count = len(seq)
        for name, dtype in _NUMPY_COLUMNS.items():
            column = seq if name == "seq" else given.get(name)
            if column is None:
                column = np.full(count, _ABSENT.get(name, 0))
            self._columns[name].append(column.astype(dtype, copy=False))

    def _values(self, flat: list[Any]) -> dict[str, np.ndarray]:
        """Columns t, v, i, has_i and text (index into the collected strings, -1 for none)."""
        count = len(flat)
        if set(map(type, flat)) == {float}:
            return {"v": np.array(flat, np.float64)}
        t = np.fromiter(map(_TYPE_OF.get, map(type, flat), repeat(_OTHER)), np.int8, count)
        v, i, has_i = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int8)
        text = np.full(count, -1, np.int64)
        for kind in (Type.FLOAT, Type.INT, Type.BOOL):
            at = np.flatnonzero(t == kind)
            if not len(at):
                continue
            picked = [flat[n] for n in at] if len(at) < count else flat
            if kind is Type.FLOAT:
                v[at] = picked
                continue
            if kind is Type.INT and not INT64_MIN <= min(picked) <= max(picked) <= INT64_MAX:
                # points: msgpack carries up to 2**64 - 1 as plain integers; facts: any
                big = at[[not INT64_MIN <= number <= INT64_MAX for number in picked]]
                t[big] = _OTHER
                at, picked = (rest := np.setdiff1d(at, big)), [flat[n] for n in rest]
            i[at] = picked
            v[at] = i[at]
            has_i[at] = 1
        for n in np.flatnonzero((t == Type.STRING) | (t == _OTHER)):
            cell = encode_cell(unpack_value(flat[n]))
            t[n] = cell[0]
            v[n] = cell[1] or 0.0
            if cell[2] is not None:
                i[n], has_i[n] = cell[2], 1
            if cell[3] is not None:
                text[n] = len(self._texts)
                self._texts.append(cell[3])
        return {"t": t, "v": v, "i": i, "has_i": has_i, "text": text}


_NUMPY_COLUMNS: Final[dict[str, Any]] = {
    "seq": np.int64,
    "row": np.int64,
    "hlc": np.int64,
    "ts": np.int64,
    "kind": np.int32,
    "subject": np.int32,
    "step": np.int64,
    "key": np.int32,
    "has_row": np.int8,
    "t": np.int8,
    "v": np.float64,
    "i": np.int64,
    "has_i": np.int8,
    "text": np.int64,
}
_ABSENT: Final = {"subject": -1, "key": -1, "text": -1}
