"""Large stores on this machine's disk, made in seconds to minutes without any training script.

`python benchmarks/big_stores.py ROOT --runs 10000 [--steps 3] [--keys loss,accuracy] [--as packs|sets|parts]`

packs: as a compacted project lies (the default). sets: each run merged by its writer, for few long runs. parts: one
`e` file a run, as short runs leave it; what a compactor begins with. Files are put under their names without fsync,
which a store must never do; their bytes are those that the product itself would write.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import losses
import pyarrow as pa
from like_runs import LikeRuns

from tracker.storage.arrow_arrays import texts
from tracker.storage.checkpoint import encode_checkpoint, merge_checkpoints
from tracker.storage.derived import write_derived
from tracker.storage.event_file import SET_GROUP_ROWS, write_event_file
from tracker.storage.format_file import ensure_format
from tracker.storage.kway import Source
from tracker.storage.local import LocalStore
from tracker.storage.manifest import Checkpoint, Manifest, publish_manifest
from tracker.storage.names import PartName, RunRef, encode_name, new_ulid, pack_key, run_prefix
from tracker.storage.pack_build import BuiltPack, PackInput, build_pack
from tracker.storage.rollup import Frames, KeyPlaces, Owners, Rollup, collect_closed_rows
from tracker.storage.schema import SCHEMA, PackFooter, PartFooter, encode_part

__all__ = ["ENTITY", "FORMS", "PROJECT", "make_store"]

ENTITY: Final = "main"
PROJECT: Final = "big"
FORMS: Final = ("packs", "sets", "parts")
_MEMORY_BYTES: Final = 256 << 20
_PACK_EVENTS: Final = 40_000_000  # about 200 MiB


def make_store(root: Path, like: LikeRuns, form: str = "packs", project: str = PROJECT) -> None:
    """The runs of `like` in project `main/<project>` of the local root, which may be empty or hold other projects."""
    root.mkdir(parents=True, exist_ok=True)
    ensure_format(LocalStore(root))
    {"parts": _make_parts, "sets": _make_sets, "packs": _make_packs}[form](root, like, project)


def _make_parts(root: Path, like: LikeRuns, project: str) -> None:
    """One `e` file a run, with all its frames."""
    for number in range(like.runs):
        ref, name = _name(like, number, project, "e")
        events = pa.concat_tables([like.facts(number, number + 1), *like.points_of(number, number + 1)])
        data, _ = encode_part([events.select(SCHEMA.names)], _footer(ref, name), level=1)
        _write(root, f"{run_prefix(ref)}{name.writer_id}/{name.file_name}", data)


def _make_sets(root: Path, like: LikeRuns, project: str) -> None:
    """Files `h`, `r` and `f` of each run."""
    for number in range(like.runs):
        _make_set(root, like, project, number)


def _make_set(root: Path, like: LikeRuns, project: str, number: int) -> None:
    ref, name = _name(like, number, project, "f")
    folder = root / run_prefix(ref) / name.writer_id
    folder.mkdir(parents=True)
    frames = {(ref.run_id, name.writer_id): Frames(0, like.last_frame, name.mark)}
    owners, places = Owners(frames), KeyPlaces()
    places.add(0, texts(list(like.keys)))
    closed = collect_closed_rows(lambda: like.points_of(number, number + 1, (None,)), owners, _go_on)
    rollup = Rollup(owners, closed, places)
    tables = {"h": like.points_of(number, number + 1), "f": iter([like.facts(number, number + 1)])}
    for family, found in tables.items():
        target = folder / replace(name, family=family).file_name
        footer = replace(_footer(ref, name), family=family, families="fh" if family == "f" else "")
        write_event_file(target, _pieces(found, SCHEMA.names), footer, SCHEMA, on_group=rollup.add)
    footer = replace(_footer(ref, name), family="r")
    (folder / replace(name, family="r").file_name).write_bytes(write_derived(rollup.records(frames), footer))


def _go_on() -> None:
    """Nobody trains here: no pause between pieces of work."""


def _make_packs(root: Path, like: LikeRuns, project: str) -> None:
    """Packs of about 200 MiB, one checkpoint of all of them, and the manifest."""
    built: list[BuiltPack] = []
    events = like.events * like.runs
    count = -(-events // _PACK_EVENTS)
    bounds = [like.runs * n // count for n in range(count + 1)]
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        for first, end in itertools.pairwise(bounds):
            pack_id = new_ulid(like.ended_us(end), first.to_bytes(10))
            given = _pack_input(like, first, end)
            pack = build_pack(
                pack_id, ENTITY, project, given, Path(scratch), memory_bytes=_MEMORY_BYTES, created_by="benchmark"
            )
            for family, file in pack.files.items():
                _write(root, pack_key(ENTITY, project, pack_id, family), file)
            built.append(pack)
    ids = tuple(pack.pack.id for pack in built)
    hlc_max_us = max(pack.pack.hlc_max_us for pack in built)
    records = merge_checkpoints((), (), [pack.records for pack in built], (), memory_bytes=_MEMORY_BYTES)
    footer = PackFooter(
        entity=ENTITY, project=project, pack_id=new_ulid(like.ended_us(like.runs)), family="k", writers=like.runs
    )
    data = encode_checkpoint(records, replace(footer, hlc_max_us=hlc_max_us, created_by="benchmark"))
    _write(root, pack_key(ENTITY, project, footer.pack_id, "k"), data)
    checkpoint = Checkpoint(id=footer.pack_id, size_bytes=len(data), packs=ids, hlc_max_us=hlc_max_us)
    packs = tuple(pack.pack for pack in built)
    publish_manifest(
        LocalStore(root), ENTITY, project, Manifest(number=0, nonce="made", packs=packs, checkpoints=(checkpoint,))
    )


def _pack_input(like: LikeRuns, first: int, end: int) -> PackInput:
    run_ids, writer_ids = like.run_ids(first, end), like.writer_ids(first, end)
    owners = list(zip(run_ids, writer_ids, strict=True))
    frames = {
        owner: Frames(0, like.last_frame, like.mark(number))
        for number, owner in zip(range(first, end), owners, strict=True)
    }
    keys = texts(list(like.keys))
    events = like.events * (end - first)

    def blocks(rows: int) -> Iterator[pa.Table]:
        return _pieces(itertools.chain([like.facts(first, end)], like.points_of(first, end)), None, rows)

    def markers() -> Iterator[pa.Table]:
        return like.points_of(first, end, (None,))

    return PackInput(frames, [Source(blocks, events)], markers, [(owner, keys) for owner in owners], events)


def _pieces(tables: Iterable[pa.Table], columns: list[str] | None, rows: int = SET_GROUP_ROWS) -> Iterator[pa.Table]:
    for table in tables:
        chosen = table if columns is None else table.select(columns)
        for start in range(0, table.num_rows, rows):
            yield chosen.slice(start, rows)


def _name(like: LikeRuns, number: int, project: str, family: str) -> tuple[RunRef, PartName]:
    ref = RunRef(ENTITY, project, like.run_id(number))
    segment = encode_name(ref.run_id)
    return ref, PartName(segment, like.writer_id(number), family, 0, like.last_frame, like.mark(number))


def _footer(ref: RunRef, name: PartName) -> PartFooter:
    return PartFooter(
        entity=ref.entity,
        project=ref.project,
        run_id=ref.run_id,
        writer_id=name.writer_id,
        family=name.family,
        first=name.first,
        last=name.last,
        mark=name.mark,
        created_by="benchmark",
    )


def _write(root: Path, key: str, data: bytes | Path) -> None:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, Path):
        os.replace(data, path)
    else:
        path.write_bytes(data)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--keys", type=lambda text: tuple(text.split(",")), default=losses.KEYS)
    parser.add_argument("--as", dest="form", choices=FORMS, default="packs")
    parser.add_argument("--project", default=PROJECT)
    options = parser.parse_args(argv)
    like = LikeRuns(options.runs, options.steps, options.keys)
    began = time.perf_counter()
    make_store(options.root, like, options.form, options.project)
    took = time.perf_counter() - began
    print(f"{like.runs:,} runs, {like.points:,} points in {took:.1f} s: {options.root}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
