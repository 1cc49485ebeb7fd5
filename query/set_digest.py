"""The digest of a merged set from its facts and its rollup: a few kilobytes, whatever the number of points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.part_digest import CELLS, PartDigest
from tracker.query.part_figures import cell_figures, record_figures
from tracker.query.run_files import KeyStats, Mark
from tracker.storage.derived import Record, read_derived
from tracker.storage.errors import CorruptData
from tracker.storage.events import HISTORY, ROW, SYSTEM, Type

__all__ = ["set_digest"]

_NAN: Final = float("nan")


def set_digest(facts: PartDigest, rollup: Path, name: str) -> PartDigest:
    """`facts`: of the set's first file. `rollup`: its r file, which messages call `name`. Markers are in neither.

    Raises:
        FileNotFoundError: the rollup is gone. CorruptData, FormatTooNew: it cannot be read; all it says is in the
            other files too.
    """
    records = read_derived(rollup, name, what=[Record.SERIES, Record.OPEN, Record.WRITER])
    writers = _only(records, Record.WRITER).to_pylist()
    if len(writers) != 1 or writers[0]["writer"] != facts.footer.writer_id:
        raise CorruptData(f"{name} is not the rollup of writer {facts.footer.writer_id}. Move it out of the store.")
    writer = writers[0]
    series = _only(records, Record.SERIES, HISTORY)
    series = series.take(np.argsort(series["place"].fill_null(0).to_numpy(), kind="stable"))
    opened = _only(records, Record.OPEN)
    rows = _only(records, Record.SERIES, ROW).to_pylist()
    mark = Mark(*(rows[0][field] for field in ("row", "step", "hlc", "ts", "v"))) if rows else None
    return replace(
        facts,
        first_hlc_us=writer["first_hlc"],
        hlc_max_us=max(facts.hlc_max_us, writer["last_hlc"] or 0),
        wall_max_us=max(facts.wall_max_us, writer["last_wall_us"] or 0),
        keys=_keys(series, opened),
        last=series.select(CELLS.names).cast(CELLS).combine_chunks(),
        open=opened.select(CELLS.names).cast(CELLS).combine_chunks(),
        system=_only(records, Record.SERIES, SYSTEM).select(CELLS.names).cast(CELLS).combine_chunks(),
        figures=record_figures(series),
        open_figures=cell_figures(opened),
        head=None,
        rows=writer["rows"] or 0,
        step_first=rows[0]["first_step"] if rows else None,
        step_last=rows[0]["last_step"] if rows else None,
        mark=mark,
        plain=bool(writer["plain"]),
        events=writer["events"] or 0,
        records=series,
    )


def _only(records: pa.Table, what: str, kind: str | None = None) -> pa.Table:
    wanted = pc.equal(records["what"], what)
    return records.filter(wanted if kind is None else pc.and_(wanted, pc.equal(records["kind"], kind)))


def _keys(series: pa.Table, opened: pa.Table) -> dict[str, KeyStats]:
    """Cells of rows that are not closed count too: a later file may close them."""
    columns = (series[name].to_pylist() for name in ("key", "counts", "rising", "first_v", "last_v"))
    found = {
        key: KeyStats(tuple(counts), bool(rising), _NAN if first is None else first, _NAN if last is None else last)
        for key, counts, rising, first, last in zip(*columns, strict=True)
    }
    for key, kind in zip(opened["key"].to_pylist(), opened["t"].to_pylist(), strict=True):
        known = found.get(key, KeyStats((0,) * len(Type), False, _NAN, _NAN))
        counts = tuple(count + (n == kind) for n, count in enumerate(known.counts))
        found[key] = replace(known, counts=counts)
    return found
