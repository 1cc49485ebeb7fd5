"""Whether a part or the file of a pack holds events as this version writes them: order, kinds, values, footer.

`check_parquet` has seen to the bytes; here is what they mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.storage.errors import CorruptData
from tracker.storage.events import HISTORY, KIND_LOST, POINT_KINDS, ROW, SYSTEM, Type, family_of
from tracker.storage.kway import PACK_ORDER
from tracker.storage.parquet_check import Source, check_parquet, open_source
from tracker.storage.schema import SCHEMA, PackFooter, PartFooter, parse_footer

__all__ = ["CheckedPart", "EventCheck", "check_part"]

_NULL: Final = 2**63 - 1
_NO_WORDS: Final[frozenset[str]] = frozenset()
_NUMBERED: Final = {ROW: ("row", "step"), HISTORY: ("row", "step", "key"), SYSTEM: ("key",)}
_HOLDS: Final = {  # columns v, i, s of a value: True filled, False null, None either
    Type.FLOAT: (True, False, False),
    Type.INT: (True, None, None),
    Type.BOOL: (True, True, False),
    Type.STRING: (False, False, True),
    Type.JSON: (False, False, True),
    Type.NULL: (False, False, False),
    Type.DELETED: (False, False, False),
}
_BLOB = re.compile(r'"sha256":\s*"([0-9a-f]{64})"')  # in the JSON of a value with `_type`


@dataclass(slots=True)
class EventCheck:
    """Looks at the row groups of one file, one after the other; `complaints` says what is odd, each thing once."""

    family: str  # e: every kind; "": a file that may hold any kind
    complaints: list[str] = field(default_factory=list)
    blobs: set[str] = field(default_factory=set)  # sha256 of the blobs that values name
    subjects: set[str] = field(default_factory=set)  # that facts name
    seq_min: int | None = None
    seq_max: int | None = None
    hlc_max_us: int = 0
    hlc_min_us: int | None = None
    wall_max_us: int = 0
    rows: int = 0
    lost: int = 0  # frames whose bytes were damaged before they came here
    _last: tuple[Any, ...] | None = None

    def add(self, events: pa.Table, _group: int = 0) -> None:
        """`events`: a row group, in its order."""
        if not events.num_rows:
            return
        events = events.unify_dictionaries().combine_chunks()
        for column in ("seq", "hlc", "ts", "kind", "t"):
            if events[column].null_count:
                self._say(f"{events[column].null_count:,} events have no {column}")
                return
        self._count(events)
        self.subjects.update(pc.unique(events["subject"]).drop_null().to_pylist())
        self._look_at_kinds(events)
        self._look_at_values(events)
        self._look_at_order(events)

    def compare_times(self, footer: PartFooter | PackFooter, name: str) -> None:
        """Raises CorruptData where the footer tells other times than the events. Zeros: it does not tell."""
        if not self.rows:
            return
        pairs = {
            "ts_max_us": (footer.ts_max_us, self.wall_max_us),
            "hlc_min_us": (footer.hlc_min_us, self.hlc_min_us),
            "hlc_max_us": (footer.hlc_max_us, self.hlc_max_us),
        }
        for field_name, (said, found) in pairs.items():
            if said and said != found:
                raise CorruptData(f"{name}: {field_name} is {found}, its footer says {said}.")

    def _say(self, text: str) -> None:
        if text not in self.complaints:
            self.complaints.append(text)

    def _count(self, events: pa.Table) -> None:
        seq, hlc = (events[name].to_numpy() for name in ("seq", "hlc"))
        low, high = int(seq.min()), int(seq.max())
        self.rows += events.num_rows
        self.seq_min = low if self.seq_min is None else min(self.seq_min, low)
        self.seq_max = high if self.seq_max is None else max(self.seq_max, high)
        self.hlc_max_us = max(self.hlc_max_us, int(hlc.max()))
        self.hlc_min_us = int(hlc.min()) if self.hlc_min_us is None else min(self.hlc_min_us, int(hlc.min()))
        self.wall_max_us = max(self.wall_max_us, int((hlc + events["ts"].to_numpy()).max()))

    def _look_at_kinds(self, events: pa.Table) -> None:
        kinds = pc.unique(events["kind"]).to_pylist()
        if self.family not in ("", "e"):
            wrong = [kind for kind in kinds if family_of(kind) != self.family]
            if wrong:
                self._say(f"a file of family {self.family} holds events of kind {', '.join(sorted(wrong))}")
        if len({kind in POINT_KINDS for kind in kinds}) > 1:
            self._say("a row group mixes facts and points")
        if KIND_LOST in kinds:
            self.lost += int(pc.sum(pc.equal(events["kind"], KIND_LOST)).as_py())
        for kind in kinds:
            mine = events.filter(pc.equal(events["kind"], kind)) if len(kinds) > 1 else events
            needed = _NUMBERED.get(kind, () if kind in POINT_KINDS else ("key",))
            empty = [name for name in needed if mine[name].null_count]
            if empty:
                self._say(f"events of kind {kind} have no {', '.join(empty)}")

    def _look_at_values(self, events: pa.Table) -> None:
        types = events["t"].to_numpy()
        filled = {name: events[name].is_valid().to_numpy() for name in "vis"}
        for number in np.unique(types).tolist():
            if number not in _HOLDS:
                self._say(f"values have the type {number}, which this version does not know")
                continue
            mine = types == number
            for name, wanted in zip("vis", _HOLDS[Type(number)], strict=True):
                if wanted is not None and not bool((filled[name][mine] == wanted).all()):
                    found = "empty" if wanted else "filled"
                    self._say(f"values of type {Type(number).name} have column {name} {found}")
        if bool((types == Type.JSON).any()):
            texts = events["s"].filter(pc.equal(events["t"], int(Type.JSON)))
            for text in texts.filter(pc.match_substring(texts, '"sha256"')).to_pylist():
                if '"_type"' in text:
                    self.blobs.update(_BLOB.findall(text))

    def _look_at_order(self, events: pa.Table) -> None:
        """Readers and mergers take it for granted: facts, then points; then kind, key(, run, writer), step, seq."""
        names = [name for name in PACK_ORDER if name in events.column_names]
        behind = {"kind": POINT_KINDS}
        columns = [_comparable(events[name].chunk(0), behind.get(name, _NO_WORDS)) for name in names]
        equal = np.ones(events.num_rows - 1, bool)
        falls = np.zeros(events.num_rows - 1, bool)
        for column in columns:
            falls |= equal & (column[1:] < column[:-1])
            equal &= column[1:] == column[:-1]
        if falls.any():
            self._say("its events are not in order")
        first, last = (_rank({name: events[name][at].as_py() for name in names}) for at in (0, -1))
        if self._last is not None and first < self._last:
            self._say("its row groups are not in order")
        self._last = last


def _comparable(column: pa.Array, last: frozenset[str]) -> np.ndarray:
    """Numbers that order as the values do, null last; of texts those in `last` behind all others."""
    if not pa.types.is_dictionary(column.type):
        return np.asarray(column.fill_null(_NULL).to_numpy())
    words = column.dictionary.to_pylist()
    order = sorted(range(len(words)), key=lambda n: (words[n] in last, words[n]))
    ranks = np.full(len(words) + 1, len(words), np.int64)
    ranks[order] = np.arange(len(words))
    return np.asarray(ranks[column.indices.fill_null(len(words)).to_numpy()])


def _rank(keys: dict[str, Any]) -> tuple[Any, ...]:
    """One event's place, as a tuple; null sorts last."""
    is_point = keys["kind"] in POINT_KINDS
    return (is_point, *((value is None, "" if value is None else value) for value in keys.values()))


@dataclass(frozen=True, slots=True)
class CheckedPart:
    """What a sound part says of itself, and what its events add to that."""

    footer: PartFooter
    blobs: frozenset[str]
    hlc_max_us: int
    lost: int  # frames that the writer's local log had damaged
    complaints: tuple[str, ...]  # the bytes are whole, but not what this version would write
    subjects: frozenset[str] = frozenset()  # that facts name


def check_part(source: Source, name: str) -> CheckedPart:
    """A part (families e, f, h, s, c) read whole, one row group at a time.

    Raises:
        CorruptData: bytes are damaged, or the footer and the events contradict each other.
        FormatTooNew: a newer tracker wrote it.
        FileNotFoundError: the local file is gone.
    """
    footer = _footer(source, name)
    check = EventCheck(footer.family)
    check_parquet(source, name, SCHEMA, check.add)
    if check.rows != footer.rows:
        raise CorruptData(f"{name} holds {check.rows:,} events, its footer says {footer.rows:,}.")
    if check.rows and not footer.first <= (check.seq_min or 0) <= (check.seq_max or 0) <= footer.last:
        said = f"{footer.first}..{footer.last}"
        raise CorruptData(f"{name} holds frames {check.seq_min}..{check.seq_max}, its footer says {said}.")
    check.compare_times(footer, name)
    return CheckedPart(
        footer, frozenset(check.blobs), check.hlc_max_us, check.lost, tuple(check.complaints), frozenset(check.subjects)
    )


def _footer(source: Source, name: str) -> PartFooter:
    try:
        with open_source(source) as raw, pq.ParquetFile(raw) as file:
            return parse_footer(file.metadata, name)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:
        why = " ".join(str(exc).split())
        raise CorruptData(f"{name} is damaged or not a whole Parquet file ({why}).") from exc
