"""Runs made by hand as parts for the reader: loose or in one pack, with row groups small enough to be pruned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from store_maker import MadeWriter

from tracker.query.part_digest import PartDigest, PartToRead, digest_parts
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage import rollup_series, step_buckets
from tracker.storage.port import ObjectInfo
from tracker.storage.rollup import Frames, Owners, Rollup, collect_closed_rows, write_derived
from tracker.storage.schema import SCHEMA, PackFooter

_FOOTER = PackFooter(entity="main", project="p", pack_id="0" * 26, family="r", writers=1)
_NAMES = ("kind", "subject", "key", "run", "writer")
_WIDE = pa.schema([pa.field(name, pa.dictionary(pa.int32(), pa.string())) for name in ("run", "writer")] + list(SCHEMA))


@dataclass
class MadeRuns:
    """Runs of hand-made writers whose files lie in a directory."""

    directory: Path
    rows_per_group: int = 5
    rolled: bool = False  # with rollups, whose series have buckets even where they are short
    early: int = 0  # files of loose parts begin as many frames before what counts of them
    upto_us: int | None = None  # later events do not count

    def loose(self, writers: Sequence[MadeWriter], cuts: Sequence[int] = ()) -> list[RunFiles]:
        """Every writer's frames in `e` files that begin at 0 and at `cuts`."""
        made = []
        for writer in writers:
            edges = sorted({0, *(cut for cut in cuts if cut < len(writer.frames)), len(writer.frames)})
            made += [self._loose(writer, first, end - 1) for first, end in pairwise(edges)]
        return _runs(writers, made)

    def packed(self, writers: Sequence[MadeWriter], until: int | None = None) -> list[RunFiles]:
        """The frames of all writers before frame `until` in one pack, the others in an `e` file a writer."""
        tables, heads = [], []
        for writer in writers:
            last = min(len(writer.frames), until or len(writer.frames)) - 1
            events = writer.events(0, last)
            kept = events.filter(pc.is_in(events["kind"], value_set=pa.array(["history", "row"])))
            words = {"run": writer.ref.run_id, "writer": writer.id}
            columns = [pa.array([word] * len(kept), pa.string()).dictionary_encode() for word in words.values()]
            tables.append(pa.table([*columns, *kept.columns], names=_WIDE.names))
            heads.append((writer, last))
        pack = pa.concat_tables([table.cast(_WIDE) for table in tables]).unify_dictionaries().combine_chunks()
        plain = pa.table({name: pack[name].cast(pa.string()) for name in ("kind", "key", "run", "writer")})
        for name in ("step", "seq"):
            plain = plain.append_column(name, pack[name])
        order = pc.sort_indices(plain, sort_keys=[(name, "ascending") for name in plain.column_names])
        path = self._write(f"pack{until or ''}.parquet", pack.take(order))
        info = ObjectInfo(path.name, path.stat().st_size, 0)
        made = []
        for writer, last in heads:
            part = self._loose(writer, 0, last)
            made.append(replace(part, info=info, packed=True, rollup=self._roll(path.name, pack.take(order))))
            if last + 1 < len(writer.frames):
                made.append(self._loose(writer, last + 1, len(writer.frames) - 1))
        return _runs(writers, made)

    def paths(self, parts: Sequence[RunPart]) -> list[Path]:
        return [self.directory / part.info.key for part in parts]

    def _loose(self, writer: MadeWriter, first: int, last: int) -> RunPart:
        begin = max(first - self.early, 0)
        name = f"{writer.ref.run_id}-{writer.id}-{begin}-{last}.parquet"
        data = self.directory / name
        data.write_bytes(writer.encode(begin, last))
        (digest,) = digest_parts([PartToRead(data, name, first, self.upto_us)])
        assert isinstance(digest, PartDigest)
        events = pq.ParquetFile(data, read_dictionary=list(_NAMES[:3])).read()
        self._write(name, events, metadata=pq.read_metadata(data).metadata)
        marks = digest.marks()
        return RunPart(
            info=ObjectInfo(name, data.stat().st_size, 0),
            run_id=writer.ref.run_id,
            writer_id=writer.id,
            first=first,
            last=last,
            is_cut=begin < first,
            packed=False,
            events=len(events),
            rows=len(set(marks.row.tolist())),
            step_first=int(marks.step[0]) if len(marks) else None,
            step_last=int(marks.step[-1]) if len(marks) else None,
            plain=is_simple(events),
            hlc_max_us=pc.max(events["hlc"]).as_py(),
            upto_hlc_us=self.upto_us,
            rollup=self._roll(name, events, (writer.ref.run_id, writer.id)),
            system_info=None,
            records=digest,
        )

    def _roll(self, name: str, events: pa.Table, owner: tuple[str, str] | None = None) -> ObjectInfo | None:
        """The derived records of a file, in a file beside it."""
        if not self.rolled:
            return None
        path = self.directory / f"r-{name}"
        if not path.exists():
            whole = events.unify_dictionaries().combine_chunks()
            pairs = [owner] if owner else []
            if not owner:
                pairs = list(
                    zip(*(whole[name].cast(pa.string()).to_pylist() for name in ("run", "writer")), strict=True)
                )
            owners = Owners(pairs)
            with patch.object(rollup_series, "BUCKETED_POINTS", 3), patch.object(step_buckets, "BUCKETS_MAX", 4):
                rollup = Rollup(owners, collect_closed_rows(lambda: iter([whole]), owners, lambda: None))
                rollup.add(whole)
                records = [*rollup.records(dict.fromkeys(owners.pairs, Frames(0, 0, "0" * 16)))]
            path.write_bytes(write_derived(records, _FOOTER))
        return ObjectInfo(path.name, path.stat().st_size, 0)

    def _write(self, name: str, events: pa.Table, metadata: dict[bytes, bytes] | None = None) -> Path:
        path = self.directory / name
        with pq.ParquetWriter(
            path, events.schema, use_dictionary=[n for n in _NAMES if n in events.schema.names], store_schema=False
        ) as sink:
            for start in range(0, len(events), self.rows_per_group):
                sink.write_table(events.slice(start, self.rows_per_group))
            sink.add_key_value_metadata({key: value for key, value in (metadata or {}).items()})
        return path


def is_simple(events: pa.Table) -> bool:
    """What `plain` means in `tracker.storage.derived`, word by word."""
    rows = events.select(["kind", "key", "row", "step"]).to_pylist()
    closed: dict[int, int] = {}
    for event in rows:
        if event["kind"] == "row":
            if event["row"] in closed:
                return False
            closed[event["row"]] = event["step"]
    cells = [(event["row"], event["key"], event["step"]) for event in rows if event["kind"] == "history"]
    if any(closed.get(row) != step for row, _, step in cells):
        return False
    if len({(row, key) for row, key, _ in cells}) < len(cells):
        return False
    steps = [closed[row] for row in sorted(closed)]
    return all(after > before for before, after in pairwise(steps))


def _runs(writers: Sequence[MadeWriter], parts: Sequence[RunPart]) -> list[RunFiles]:
    of_run: defaultdict[str, list[RunPart]] = defaultdict(list)
    for part in parts:
        of_run[part.run_id].append(part)
    return [
        RunFiles("main", "p", run_id, tuple(sorted(of_run[run_id], key=lambda part: (part.writer_id, part.first))))
        for run_id in dict.fromkeys(writer.ref.run_id for writer in writers)
    ]
