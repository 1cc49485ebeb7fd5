"""Large stores on this machine's disk, made in seconds to minutes without any training script.

`python benchmarks/big_stores.py ROOT --runs 10000 [--steps 3] [--keys loss,accuracy] [--as sets|parts]`

sets: each run merged by its writer, for few long runs. parts: one
`e` file a run, as short runs leave it; what a compactor begins with. Files are put under their names without fsync,
which a store must never do; their bytes are those that the product itself would write.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import losses
import pyarrow as pa
from like_runs import LikeRuns

from tracker.storage.format_file import ensure_format
from tracker.storage.local import LocalStore
from tracker.storage.names import PartName, RunRef, encode_name, run_prefix
from tracker.storage.schema import SCHEMA, PartFooter, encode_part

__all__ = ["ENTITY", "FORMS", "PROJECT", "make_store"]

ENTITY: Final = "main"
PROJECT: Final = "big"
FORMS: Final = ("sets", "parts")


def make_store(root: Path, like: LikeRuns, form: str = "sets", project: str = PROJECT) -> None:
    """The runs of `like` in project `main/<project>` of the local root, which may be empty or hold other projects."""
    root.mkdir(parents=True, exist_ok=True)
    ensure_format(LocalStore(root))
    {"parts": _make_parts, "sets": _make_sets}[form](root, like, project)


def _make_parts(root: Path, like: LikeRuns, project: str) -> None:
    """One `e` file a run, with all its frames."""
    for number in range(like.runs):
        ref, name = _name(like, number, project, "e")
        events = pa.concat_tables([like.facts(number, number + 1), *like.points_of(number, number + 1)])
        data, _ = encode_part([events.select(SCHEMA.names)], _footer(ref, name), level=1)
        _write(root, f"{run_prefix(ref)}{name.writer_id}/{name.file_name}", data)


def _make_sets(root: Path, like: LikeRuns, project: str) -> None:
    """Files `h` and `f` of each run, the latter last."""
    for number in range(like.runs):
        for family, tables in (("h", like.points_of(number, number + 1)), ("f", [like.facts(number, number + 1)])):
            ref, name = _name(like, number, project, family)
            footer = replace(_footer(ref, name), families="fh" if family == "f" else "")
            data, _ = encode_part(_plain(tables), footer)
            _write(root, f"{run_prefix(ref)}{name.writer_id}/{name.file_name}", data)


def _plain(tables: Iterator[pa.Table] | list[pa.Table]) -> Iterator[pa.Table]:
    return (table.select(SCHEMA.names) for table in tables)


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


def _write(root: Path, key: str, data: bytes) -> None:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--keys", type=lambda text: tuple(text.split(",")), default=losses.KEYS)
    parser.add_argument("--as", dest="form", choices=FORMS, default="sets")
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
