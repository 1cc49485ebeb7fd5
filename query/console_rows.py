"""What the runs printed: one row a line, by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.history_plan import Paths
from tracker.query.point_reader import read_points
from tracker.query.run_files import RunFiles
from tracker.storage.errors import UsageError
from tracker.storage.events import CONSOLE, split_path

__all__ = ["CONSOLE_COLUMNS", "check_console", "console_lines"]

CONSOLE_COLUMNS: Final = {
    "run_id": pa.string(),
    "writer": pa.string(),
    "time": pa.timestamp("us", "UTC"),
    "stream": pa.string(),  # stdout or stderr
    "label": pa.string(),  # of the writer, null where it has none
    "text": pa.string(),  # the line, without its newline
}
_SCHEMA: Final = pa.schema(list(CONSOLE_COLUMNS.items()))
_FINISHED: Final = pa.field("finished", pa.bool_())
_OPEN: Final = "_open"  # a stream's name with this behind it: the last line, which was not finished yet


def check_console(contains: Any, stream: Any, last: Any) -> None:
    """Raises UsageError for what is no question about lines."""
    if contains is not None and not isinstance(contains, str):
        raise UsageError(f"contains is the text that a line holds, not {contains!r:.80}")
    if stream not in (None, "stdout", "stderr"):
        raise UsageError(f'stream is "stdout" or "stderr", not {stream!r:.80}')
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 0):
        raise UsageError(f"last is a number of lines, not {last!r:.80}")


def console_lines(
    runs: Sequence[RunFiles],
    paths: Paths,
    *,
    contains: str | None = None,
    stream: str | None = None,
    tells_finished: bool = False,
) -> pa.Table:
    """The lines of these runs (CONSOLE_COLUMNS), run after run, each by time; of one writer in the order of printing.

    `contains`: only lines with this text in them, capitals told apart. `stream`: only `stdout`, or only `stderr`. A
    line that is not finished counts, as it was last seen, while nothing newer came from its stream.
    `tells_finished`: a last column `finished` says of each line whether it is.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    parts = [(n, part) for n, run in enumerate(runs) for whole in run.parts if (part := whole.of_console()) is not None]
    schema = _SCHEMA.append(_FINISHED) if tells_finished else _SCHEMA
    if not parts:
        return schema.empty_table()
    wanted: dict[str, Any] = {} if contains is None else {"needle": contains}
    text = "s" if contains is None else "CASE WHEN contains(s, $needle) THEN s END AS s"
    columns = f"seq, hlc, hlc + ts AS wall, key, {text}"
    found = read_points([part for _, part in parts], paths, kind=CONSOLE, columns=columns, params=wanted)
    if not found.num_rows:
        return schema.empty_table()
    run = np.array([n for n, _ in parts])
    writers, writer = np.unique([part.writer_id for _, part in parts], return_inverse=True)
    part = found["part"].to_numpy()
    keys = found["key"].combine_chunks().dictionary_encode()
    names = [_stream_of(key) for key in keys.dictionary.to_pylist()]
    code = keys.indices.to_numpy(zero_copy_only=False)
    at = np.lexsort((found["seq"].to_numpy(), writer[part], found["hlc"].to_numpy(), run[part]))
    at = at[_counts(names, code[at], run[part[at]], writer[part[at]])]
    if stream is not None:
        at = at[np.array([name == stream for name, _, _ in names])[code[at]]]
    at = at[found["s"].combine_chunks().is_valid().to_numpy(zero_copy_only=False)[at]]
    split = pc.split_pattern(found["s"].combine_chunks().take(pa.array(at)), "\n")
    block = at[pc.list_parent_indices(split).to_numpy()]
    lines = pa.table(
        {
            "run_id": _words([one.run_id for one in runs], run[part[block]]),
            "writer": _words(writers.tolist(), writer[part[block]]),
            "time": found["wall"].combine_chunks().take(pa.array(block)).cast(CONSOLE_COLUMNS["time"]),
            "stream": _words([name for name, _, _ in names], code[block]),
            "label": _words([label for _, label, _ in names], code[block]),
            "text": pc.list_flatten(split),
            "finished": pa.array(~np.array([unfinished for _, _, unfinished in names])[code[block]]),
        }
    )
    lines = lines.select(schema.names).cast(schema)
    return lines if contains is None else lines.filter(pc.match_substring(lines["text"], contains))


def _stream_of(key: str) -> tuple[str, str | None, bool]:
    """Stream, label, and whether the line is not finished."""
    name, *label = split_path(key)
    return name.removesuffix(_OPEN), label[0] if label else None, name.endswith(_OPEN)


def _counts(
    names: list[tuple[str, str | None, bool]], code: np.ndarray, run: np.ndarray, writer: np.ndarray
) -> np.ndarray:
    """Of points in order, which are shown: not unfinished lines that something of their stream came after."""
    is_open = np.array([unfinished for _, _, unfinished in names])[code]
    if not is_open.any():
        return np.ones(len(code), bool)
    streams = sorted({(name, label or "") for name, label, _ in names})
    stream = np.array([streams.index((name, label or "")) for name, label, _ in names])[code]
    owner = np.stack([run, writer, stream])
    _, last = np.unique(owner[:, ::-1], axis=1, return_index=True)  # the first from behind
    is_last = np.zeros(len(code), bool)
    is_last[len(code) - 1 - last] = True
    shown: np.ndarray = ~is_open | is_last
    return shown


def _words(words: Sequence[str | None], places: np.ndarray) -> pa.Array:
    return pa.array(list(words), pa.string()).take(pa.array(places))
