"""Columns of what is derived from events: rollups (`r`), checkpoints (`k`) and the cover of a pack.

Nothing here is a source: each record follows from the events of the files beside it, so a file of this kind that is
missing or damaged costs time and no data. One schema serves all three; a record uses the columns of its `what`
and leaves the others null:

    series  one (run, writer, kind, key): what its committed points are like, and the one that was written last
    bucket  one series in one range of steps [bucket * width, (bucket + 1) * width)
    open    a history cell whose row is not closed within the range: it counts once a later file closes the row
    fact    the last fact of a writer about one (subject, kind, key)
    writer  one (run, writer): what the files hold of it and what it says of itself

`r` of a merged set or pack: series, bucket, open, writer. `k`: series, open, fact, writer. Cover: writer.
Records are sorted by (what, kind, key, run, writer, first_step); no row group mixes two `what`.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

__all__ = ["BUCKETS_MAX", "DERIVED_SCHEMA", "Record"]

BUCKETS_MAX: Final = 1024  # of one series in one file


class Record:
    """Values of the column `what`."""

    SERIES: Final = "series"
    BUCKET: Final = "bucket"
    OPEN: Final = "open"
    FACT: Final = "fact"
    WRITER: Final = "writer"


_TEXT = pa.dictionary(pa.int32(), pa.string())
DERIVED_SCHEMA: Final = pa.schema(
    [
        pa.field("what", _TEXT, nullable=False),
        pa.field("run", _TEXT, nullable=False),  # the user's id of the run
        pa.field("writer", _TEXT, nullable=False),
        pa.field("kind", _TEXT),  # series, bucket: history, system, row (markers; key null, v = _runtime)
        pa.field("subject", _TEXT),
        pa.field("key", _TEXT),
        # the cell (series: the committed point with the greatest seq; open; fact), as in an event
        pa.field("seq", pa.int64()),
        pa.field("row", pa.int64()),
        pa.field("hlc", pa.int64()),
        pa.field("ts", pa.int64()),
        pa.field("step", pa.int64()),
        pa.field("t", pa.int8()),
        pa.field("v", pa.float64()),
        pa.field("i", pa.int64()),
        pa.field("s", pa.string()),
        # series and bucket. Points count when their row is closed; "first" and "last" are by (step, seq)
        pa.field("width", pa.int64()),  # bucket: steps in it, a power of two
        pa.field("count", pa.int64()),  # points
        pa.field("nan_count", pa.int64()),  # of them NaN; the next seven columns leave NaN out
        pa.field("first_step", pa.int64()),  # of the first and the last point, whatever their values
        pa.field("last_step", pa.int64()),
        pa.field("first_v", pa.float64()),  # v of the first and last point, null where that is no number
        pa.field("last_v", pa.float64()),
        pa.field("min_v", pa.float64()),
        pa.field("max_v", pa.float64()),
        pa.field("mean_v", pa.float64()),
        pa.field("min_step", pa.int64()),  # where min_v and max_v stand (the first such step)
        pa.field("max_step", pa.int64()),
        # series
        pa.field("counts", pa.list_(pa.int64())),  # points per Type, indexed by it
        pa.field("rising", pa.bool_()),  # numbers never fall from one (step, seq) to the next
        pa.field("first_seq", pa.int64()),  # frame in which the key was first logged: keys are shown in this order
        # writer
        pa.field("pack", _TEXT),  # id of the pack that holds frames 0..last_frame; null in the r file of a set
        pa.field("first_frame", pa.int64()),
        pa.field("last_frame", pa.int64()),
        pa.field("mark", pa.string()),
        pa.field("events", pa.int64()),
        pa.field("rows", pa.int64()),  # closed rows
        pa.field("first_hlc", pa.int64()),
        pa.field("last_hlc", pa.int64()),
        pa.field("last_wall_us", pa.int64()),
        # whether rows are simple: every cell's row is closed here, once; no key twice in a row; cells stand at their
        # marker's step; steps rise strictly with the row number. Then a series is in order as it lies in the file.
        pa.field("plain", pa.bool_()),
        pa.field("is_session", pa.bool_()),  # it said anything of itself (facts of kind writer)
        pa.field("generation", pa.string()),
        pa.field("job", pa.string()),
        pa.field("rank", pa.string()),
        pa.field("state", pa.string()),
        pa.field("started_at", pa.int64()),
        pa.field("ended_at", pa.int64()),
    ]
)
