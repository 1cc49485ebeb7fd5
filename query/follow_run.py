"""A run as it goes on: the last of what it has said, then all that comes, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pyarrow.compute as pc

from tracker.query.console_rows import console_lines
from tracker.query.follow import RunFollower
from tracker.query.followed_rows import EPOCH, RowForm, line_dict, sample_dict
from tracker.query.frames import to_dicts
from tracker.query.history_plan import TIMESTAMP, PartsGone
from tracker.query.last_rows import last_rows
from tracker.query.run_files import RunFiles
from tracker.query.runs import stream_files, visible_files
from tracker.query.snapshot import Snapshot
from tracker.query.system_rows import system_batches
from tracker.query.writer_tail import Arrived, Line
from tracker.storage.clock import wall_us
from tracker.storage.errors import StorageUnavailable, UsageError

__all__ = ["EVERY_S", "STREAMS", "FollowOptions", "follow_run"]

STREAMS: Final = ("history", "system", "console")
EVERY_S: Final = 0.75  # between two looks at most: with the time that a look takes, less than a second

_SOONER: Final = 1 / 2  # of it after something came; each look that finds nothing waits a little longer
_GROWTH: Final = 1.05
_PATIENCE_S: Final = 60.0  # for so long a store that does not answer is asked again
_ATTEMPTS_MAX: Final = 4

Record = tuple[str, dict[str, Any]]  # stream, and the row, sample or line


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """What of a run to follow. `last`: so much of each stream comes first (None: all there is)."""

    streams: tuple[str, ...] = ("history",)
    keys: tuple[str, ...] | None = None  # of the history
    last: int | None = 0
    every_s: float = EVERY_S

    def __post_init__(self) -> None:
        """Raises UsageError for what is no such question."""
        unknown = [stream for stream in self.streams if stream not in STREAMS]
        if unknown or not self.streams:
            raise UsageError(f"Unknown stream {unknown[:1]!r}. Known: {', '.join(STREAMS)}.")
        if self.last is not None and (isinstance(self.last, bool) or not isinstance(self.last, int) or self.last < 0):
            raise UsageError(f"last is a number of rows, or None for all of them, not {self.last!r:.80}.")
        if not isinstance(self.every_s, (int, float)) or not 0 < self.every_s < float("inf"):
            raise UsageError(f"every_s is a number of seconds above 0, not {self.every_s!r:.80}.")


def follow_run(
    reopen: Callable[[], Snapshot],
    run_id: str,
    options: FollowOptions,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic_s: Callable[[], float] = time.monotonic,
    now_us: Callable[[], int] = wall_us,
    on_look: Callable[[RunFollower], None] = lambda _: None,
) -> Iterator[Record]:
    """(stream, record) as they come, each once; ends when the run has ended and all of it was given.

    `reopen`: a snapshot that holds the run (or none of it, where it is no more). `on_look` is called before the first
    record and after each look, with what is known by then (`RunFollower.state`). A store that does not answer is asked
    again for a minute.

    Raises:
        RunGone: the run is not there, or was deleted meanwhile.
        StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as the store and its parts.
    """
    follower, form, records = _begin(reopen, run_id, options, monotonic_s, now_us)
    on_look(follower)
    yield from records
    pause_s = first_s = options.every_s * _SOONER  # from the beginning of one look to that of the next
    begun_s, silent_since_s = monotonic_s(), None
    while not follower.ended:
        sleep(max(begun_s + pause_s - monotonic_s(), pause_s / 4))
        begun_s = monotonic_s()
        try:
            news = follower.look()
        except StorageUnavailable:
            silent_since_s = begun_s if silent_since_s is None else silent_since_s
            if begun_s - silent_since_s > _PATIENCE_S:
                raise
            pause_s = min(max(pause_s * 2, options.every_s), _PATIENCE_S / 4)
            continue
        on_look(follower)
        yield from _records(news, follower, form, options)
        pause_s = first_s if news or silent_since_s is not None else min(pause_s * _GROWTH, options.every_s)
        silent_since_s = None
    if "console" in options.streams:
        for line in follower.unfinished:
            yield "console", line_dict(line)


def _begin(
    reopen: Callable[[], Snapshot],
    run_id: str,
    options: FollowOptions,
    monotonic_s: Callable[[], float],
    now_us: Callable[[], int],
) -> tuple[RunFollower, RowForm, list[Record]]:
    """The follower, and what comes first. All from one snapshot, so that nothing comes twice or not at all."""
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        snapshot = reopen()
        try:
            follower = RunFollower(snapshot, run_id, reopen, monotonic_s, now_us)
            (own,) = visible_files(snapshot, [run_id])
            form = RowForm(options.keys, own.history_keys(), follower.said)
            return follower, form, _last(snapshot, own, follower, options)
        except PartsGone:
            if attempt == _ATTEMPTS_MAX:
                raise
    raise AssertionError("the last attempt returns or raises")


def _last(snapshot: Snapshot, run: RunFiles, follower: RunFollower, options: FollowOptions) -> list[Record]:
    """The last of each stream, by time. Raises PartsGone."""
    timed: list[tuple[float, Record]] = []
    count = options.last
    (streams,) = stream_files(snapshot, [run.run_id])
    if "history" in options.streams and count != 0:
        keys = None if options.keys is None else (*options.keys, TIMESTAMP)
        for row in to_dicts(last_rows(run, snapshot.paths, count, keys=keys)):
            stamp = row[TIMESTAMP] if keys is None or TIMESTAMP in (options.keys or ()) else row.pop(TIMESTAMP)
            timed.append((stamp if isinstance(stamp, float) else 0.0, ("history", row)))
    if "system" in options.streams and count != 0:
        started = {run.run_id: follower.state.created_at_us}
        for rows in system_batches([streams], snapshot.paths, started, samples=None):
            found = to_dicts(rows.from_row(max(len(rows) - (count or len(rows)), 0)))
            timed += [(row[TIMESTAMP], ("system", row)) for row in found]
    if "console" in options.streams:
        lines = _last_lines(snapshot, streams, follower, count)
        timed += [(line["time"].timestamp(), ("console", line)) for line in lines]
    if len(options.streams) > 1:
        timed.sort(key=lambda one: one[0])
    return [record for _, record in timed]


def _last_lines(snapshot: Snapshot, run: RunFiles, follower: RunFollower, count: int | None) -> list[dict[str, Any]]:
    """Finished lines. The follower keeps those that are not: they come when they are, or when the run has ended."""
    lines = console_lines([run], snapshot.paths, tells_finished=True).drop_columns(["run_id"])
    waiting = lines.filter(pc.invert(lines["finished"])).to_pylist()
    follower.leave_unfinished(
        Line(
            writer_id=line["writer"],
            hlc_us=0,
            wall_us=(line["time"] - EPOCH) // timedelta(microseconds=1),
            stream=line["stream"],
            label=line["label"],
            text=line["text"],
        )
        for line in waiting
    )
    finished = lines.filter(lines["finished"]).drop_columns(["finished"])
    first = 0 if count is None else max(finished.num_rows - count, 0)
    return list(finished.slice(first).to_pylist())


def _records(news: Arrived, follower: RunFollower, form: RowForm, options: FollowOptions) -> list[Record]:
    """By time."""
    timed: list[tuple[int, Record]] = []
    if "history" in options.streams:
        timed += [(row.hlc_us, ("history", made)) for row in news.rows if (made := form.as_dict(row)) is not None]
    if "system" in options.streams:
        started_us = follower.state.created_at_us
        timed += [(sample.hlc_us, ("system", sample_dict(sample, started_us))) for sample in news.samples]
    if "console" in options.streams:
        timed += [(line.hlc_us, ("console", line_dict(line))) for line in news.lines]
    if len(options.streams) > 1:
        timed.sort(key=lambda one: one[0])
    return [record for _, record in timed]
