"""Many runs that are alike, as sorted tables of events: made by numpy, millions of events a second.

What a training script would have logged (the values are noisy curves that were float32 once, see losses.py), in the
order of merged files: (kind, key, run, step, seq). Values follow from the numbers of the run and the step alone, so
that a benchmark can say what an answer must be without reading any file.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import losses
import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import numbers, texts
from tracker.storage.events import Type, join_path
from tracker.storage.names import new_ulid
from tracker.storage.schema import SCHEMA

__all__ = ["BATCH_EVENTS", "LikeRuns"]

BATCH_EVENTS: Final = 1_000_000  # at most as many in one table
_T0_US: Final = 1_790_000_000_000_000  # 2026-09-21
_STEP_US: Final = 200_000
_RUN_US: Final = 30_000_000  # each run starts half a minute after the one before
_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_PACK_SCHEMA: Final = pa.schema([pa.field(name, _TEXT, nullable=False) for name in ("run", "writer")] + list(SCHEMA))

_Words = tuple[Sequence[str], np.ndarray]  # words, and which of them each run has


@dataclass(frozen=True, slots=True)
class LikeRuns:
    """Runs `run0000000`, `run0000001`, ...: one finished writer each, 30 facts, `steps` rows of the metrics `keys`.

    Frame 0 has the first 26 facts, frames 1 to `steps` one row each, the last frame says how the run ended.
    With a `definition` (JSON of `tracker.storage.metric_rules.rule_fact`) frame 0 has it of each key too.
    """

    runs: int
    steps: int
    keys: tuple[str, ...] = losses.KEYS
    definition: str | None = None

    @property
    def last_frame(self) -> int:
        return self.steps + 1

    @property
    def events(self) -> int:
        """Of one run: facts, cells and markers."""
        return 30 + (len(self.keys) if self.definition else 0) + self.steps * (len(self.keys) + 1)

    @property
    def points(self) -> int:
        return self.runs * self.steps * len(self.keys)

    def run_id(self, number: int) -> str:
        return f"run{number:07d}"

    def writer_id(self, number: int) -> str:
        """ULIDs that rise with the number of the run."""
        return _writer_ids(number, number + 1)[0]

    def run_ids(self, first: int, end: int) -> list[str]:
        return [f"run{number:07d}" for number in range(first, end)]

    def writer_ids(self, first: int, end: int) -> list[str]:
        return _writer_ids(int(first), int(end))

    def mark(self, number: int) -> str:
        return hashlib.sha256(f"frames of {number}".encode()).hexdigest()[:16]

    def start_us(self, number: np.ndarray | int) -> Any:
        return _T0_US + number * _RUN_US

    def values(self, key: str, first: int, end: int, steps: slice = slice(None)) -> np.ndarray:
        """What runs first..end-1 logged under `key`: float64 [run, step], of the steps in `steps`."""
        begin, stop, _ = steps.indices(self.steps)
        at = self.keys.index(key)
        number, step = np.arange(first, end)[:, None], np.arange(begin, stop)[None, :]
        scale = 0.5 + _noise(number, np.int64(at), 1)
        curve = scale * (0.2 + np.exp(-3.0 * step / self.steps))
        spread = _noise(number, step, 2 + at) + _noise(number, step, 102 + at) - 1.0  # in -1..1, a triangle
        return np.asarray(curve * (1.0 + 0.1 * spread), np.float32).astype(np.float64)

    def stamps_us(self, first: int, end: int, steps: slice = slice(None)) -> np.ndarray:
        """Wall time of the rows: int64 [run, step], steps of uneven length as real ones are."""
        begin, stop, _ = steps.indices(self.steps)
        number, step = np.arange(first, end)[:, None], np.arange(begin, stop)[None, :]
        jitter = (_noise(number, step, 1) * (_STEP_US // 2)).astype(np.int64)
        return np.asarray(self.start_us(number) + (step + 1) * _STEP_US + jitter, np.int64)

    def ended_us(self, number: np.ndarray | int) -> Any:
        return self.start_us(number) + (self.steps + 3) * _STEP_US

    def facts(self, first: int = 0, end: int | None = None) -> pa.Table:
        """The facts of each of the runs first..end-1, in one table: `run`, `writer`, then SCHEMA."""
        end = self.runs if end is None else end
        number = np.arange(first, end)
        shared = [self._fact(number, kind, path, *value(self, number)) for kind, path, value in _FACTS]
        if self.definition:
            said = (self.definition,), np.zeros(len(number), np.int64)
            shared += [self._fact(number, "metric", join_path([key]), Type.JSON, said) for key in sorted(self.keys)]
        own = self._writer_facts(number)
        return pa.concat_tables([*shared, own]).unify_dictionaries().combine_chunks()

    def points_of(
        self, first: int = 0, end: int | None = None, keys: tuple[str | None, ...] | None = None
    ) -> Iterator[pa.Table]:
        """Cells and row markers of the runs first..end-1, table after table, each as `facts` has it.

        `keys`: of these alone, in order; None stands for the markers.
        """
        end = self.runs if end is None else end
        for key in (*sorted(self.keys), None) if keys is None else keys:
            for low, high, steps in self._blocks(first, end):
                yield self._points(key, low, high, steps)

    def _blocks(self, first: int, end: int) -> Iterator[tuple[int, int, slice]]:
        runs = max(1, BATCH_EVENTS // max(1, self.steps))
        for low in range(first, end, runs):
            for begin in range(0, self.steps, BATCH_EVENTS):
                yield low, min(low + runs, end), slice(begin, min(begin + BATCH_EVENTS, self.steps))

    def _points(self, key: str | None, first: int, end: int, steps: slice) -> pa.Table:
        runs, count = end - first, steps.stop - steps.start
        step = np.tile(np.arange(steps.start, steps.stop), runs)
        stamps = self.stamps_us(first, end, steps)
        if key is None:
            value = (stamps - self.start_us(np.arange(first, end))[:, None]) / 1e6
        else:
            value = self.values(key, first, end, steps)
        size = runs * count
        return self._table(
            np.arange(first, end),
            np.repeat(np.arange(runs), count),
            kind=_one("row" if key is None else "history", size),
            key=_dictionary([] if key is None else [key], np.zeros(size, np.int32), none=key is None),
            seq=step + 1,
            hlc=stamps.ravel(),
            row=step,
            step=step,
            t=np.zeros(size, np.int8),
            v=value.ravel(),
        )

    def _fact(self, number: np.ndarray, kind: str, path: str, kind_of: Type, value: Any) -> pa.Table:
        size = len(number)
        return self._table(
            number,
            np.arange(size),
            kind=_one(kind, size),
            key=_one(path, size),
            seq=np.zeros(size, np.int64),
            hlc=self.start_us(number),
            t=np.full(size, kind_of, np.int8),
            **_value_columns(kind_of, value, size),
        )

    def _writer_facts(self, number: np.ndarray) -> pa.Table:
        """What each writer says of itself; these paths begin with the writer's id, so runs follow each other."""
        names = [name for name, *_ in _WRITER]
        size = len(number) * len(names)
        at_end = np.tile(np.array([late for _, late, *_ in _WRITER]), len(number))
        told = [value(self, number) if callable(value) else value for *_, value in _WRITER]
        words = ["running", "finished", "node"]
        t = np.tile(np.array([kind_of for _, _, kind_of, _ in _WRITER], np.int8), len(number))
        i = np.stack([np.broadcast_to(value, len(number)) for value in told], axis=1).ravel()
        ids = self.writer_ids(number[0], number[-1] + 1)
        is_text = t == Type.STRING
        text = i.copy()
        generation = np.tile(np.array([name == "generation" for name in names]), len(number))
        text[generation] = np.arange(len(number)) + len(words)
        is_int = t == Type.INT
        return self._table(
            number,
            np.repeat(np.arange(len(number)), len(names)),
            kind=_one("writer", size),
            key=_dictionary([f"{one}.{name}" for one in ids for name in names], np.arange(size)),
            seq=np.where(at_end, self.last_frame, 0),
            hlc=np.repeat(self.start_us(number), len(names)) + at_end * (self.ended_us(0) - self.start_us(0)),
            t=t,
            v=(i.astype(np.float64), is_int),
            i=(i, is_int),
            s=texts(words + ids, np.where(is_text, text, -1)),
        )

    def _table(self, number: np.ndarray, run: np.ndarray, **given: Any) -> pa.Table:
        """`number`: the runs; `run`: which of them each event is of. Columns that are not given are null."""
        size = len(run)
        columns: dict[str, Any] = {
            "run": _dictionary(self.run_ids(number[0], number[-1] + 1), run),
            "writer": _dictionary(self.writer_ids(number[0], number[-1] + 1), run),
            "ts": np.zeros(size, np.int64),
        }
        columns |= given
        return pa.table([_column(field, columns.get(field.name), size) for field in _PACK_SCHEMA], schema=_PACK_SCHEMA)


@functools.lru_cache(maxsize=8)
def _writer_ids(first: int, end: int) -> list[str]:
    noise = [hashlib.sha256(f"writer {number}".encode()).digest()[:10] for number in range(first, end)]
    return [new_ulid(_T0_US + number * _RUN_US, one) for number, one in zip(range(first, end), noise, strict=True)]


def _noise(number: np.ndarray, step: Any, salt: int) -> np.ndarray:
    """0..1 for each run and step, always the same: the finaliser of splitmix64."""
    with np.errstate(over="ignore"):
        bits = (np.uint64(salt) << np.uint64(52)) ^ (np.asarray(number, np.uint64) << np.uint64(28))
        bits = (bits ^ np.asarray(step, np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _one(word: str, size: int) -> pa.DictionaryArray:
    return _dictionary([word], np.zeros(size, np.int32))


def _dictionary(words: Sequence[str], codes: np.ndarray, *, none: bool = False) -> pa.DictionaryArray:
    valid = np.zeros(len(codes), bool) if none else None
    return pa.DictionaryArray.from_arrays(numbers(codes, pa.int32(), valid), texts(list(words)))


def _column(field: pa.Field, given: Any, size: int) -> pa.Array:
    if given is None:
        codes = np.zeros(size, np.int32)
        return _dictionary([], codes, none=True) if field.type == _TEXT else pa.nulls(size, field.type)
    if isinstance(given, pa.Array):
        return given
    return numbers(given[0], field.type, given[1]) if isinstance(given, tuple) else numbers(given, field.type)


def _value_columns(kind_of: Type, value: Any, size: int) -> dict[str, Any]:
    """Columns v, i, s of one fact of every run."""
    if kind_of in (Type.STRING, Type.JSON):
        words, which = value
        return {"s": texts(list(words), np.broadcast_to(which, size))}
    if kind_of == Type.INT:
        return {"v": value.astype(np.float64), "i": value}
    return {"v": value}


_Value = Callable[[LikeRuns, np.ndarray], tuple[Type, Any]]


def _word(*words: str) -> _Value:
    return lambda _, number: (Type.STRING, (words, number % len(words)))


def _whole(value: Callable[[np.ndarray], np.ndarray]) -> _Value:
    return lambda _, number: (Type.INT, np.broadcast_to(value(number), len(number)).astype(np.int64))


def _real(value: Callable[[np.ndarray], np.ndarray]) -> _Value:
    return lambda _, number: (Type.FLOAT, np.asarray(value(number), np.float64))


def _name(like: LikeRuns, number: np.ndarray) -> tuple[Type, Any]:
    return Type.STRING, (like.run_ids(number[0], number[-1] + 1), np.arange(len(number)))


def _tags(like: LikeRuns, number: np.ndarray) -> tuple[Type, Any]:
    del like
    return Type.JSON, (('["baseline"]', '["sweep","v2"]', "[]"), number % 3)


# in the order of a merged file: kind, path
_FACTS: Final[tuple[tuple[str, str, _Value], ...]] = (
    ("attr", "group", _word("first", "second", "third", "fourth")),
    ("attr", "host", _word(*(f"node{n:02d}" for n in range(16)))),
    ("attr", "job_type", _word("train", "eval")),
    ("attr", "name", _name),
    ("attr", "program", _word("train.py")),
    ("attr", "tags", _tags),
    ("attr", "username", _word("ada", "grace", "emmy")),
    ("config", "batch_size", _whole(lambda n: 16 << (n % 5))),
    ("config", "data.fold", _whole(lambda n: n % 10)),
    ("config", "data.name", _word("digits", "letters")),
    ("config", "epochs", _whole(lambda n: 10 + n % 90)),
    ("config", "lr", _real(lambda n: 10.0 ** -(1.0 + 4.0 * _noise(n, 0, 7)))),
    ("config", "model.dropout", _real(lambda n: 0.1 * (n % 4))),
    ("config", "model.layers", _whole(lambda n: 2 + n % 7)),
    ("config", "model.width", _whole(lambda n: 128 * (1 + n % 3))),
    ("config", "optimizer", _word(*losses.CONFIG_OPTIMIZERS)),
    ("config", "seed", _whole(lambda n: n)),
    ("config", "warmup", _whole(lambda n: 100 * (n % 5))),
    ("config", "weight_decay", _real(lambda n: 1e-4 * (n % 3))),
)
# name, whether the last frame says it, type, value; a string is a number in the list of words
_WRITER: Final[tuple[tuple[str, bool, Type, int | Callable[[LikeRuns, np.ndarray], Any]], ...]] = (
    ("ended_at", True, Type.INT, LikeRuns.ended_us),
    ("exit_code", True, Type.INT, 0),
    ("generation", False, Type.STRING, 0),
    ("host", False, Type.STRING, 2),
    ("job", False, Type.NULL, 0),
    ("last_frame", True, Type.INT, lambda like, _: like.last_frame),
    ("pid", False, Type.INT, 1000),
    ("rank", False, Type.NULL, 0),
    ("started_at", False, Type.INT, LikeRuns.start_us),
    ("state", False, Type.STRING, 0),
    ("state", True, Type.STRING, 1),
)
