"""Write the example store of this release: python tests/compat/make_store.py DIRECTORY.

Run once per release that changes the format, and committed; every later build must read every example.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

from tracker.storage import merge
from tracker.storage.events import DELETED, JsonText
from tracker.storage.frames import RowMark, pack_value
from tracker.storage.names import RunRef
from tracker.storage.writer import RunWriter, WriterOptions

START = 1_795_000_000_000_000  # microseconds: 2026-11-18

VALUES = {
    "float": 0.1,
    "minus_zero": -0.0,
    "nan": math.nan,
    "inf": math.inf,
    "minus_inf": -math.inf,
    "tiny": 5e-324,
    "int": 3,
    "int64": 2**63 - 1,
    "uint64": 2**64 - 1,
    "big": 10**40,
    "true": True,
    "none": None,
    "text": "ünï \U0001f600",
    "surrogate": "\ud800",
    "list": [1, 2.5, None, {"a": "b"}],
    "empty": {},
    "media": {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]},
    r"dotted\.key": "literal",
    "tree.leaf": "nested",
}


def main(target: Path) -> None:
    merge._SMALL_EVENTS = 10  # so that the example has files cut by family
    with tempfile.TemporaryDirectory() as work:
        for write in (_values, _ranks, _merged, _late):
            write(Path(work), str(target))


def _open(work: Path, url: str, run: str) -> RunWriter:
    return RunWriter.open(
        dir=work,
        time_name="t",
        ref=RunRef("Main Team", "proj/x", run),
        store_url=url,
        options=WriterOptions(flush_min_s=0.05, flush_max_s=0.05),
        notify=lambda level, text: sys.exit(f"{level}: {text}"),
    )


def _begin(writer: RunWriter, *, generation: str | None, rank: str | None = None, **config: object) -> None:
    fields = {"generation": generation, "job": "j", "rank": rank, "started_at": START, "state": "running"}
    facts = [("writer", None, f"{writer.writer_id}.{name}", value) for name, value in fields.items()]
    facts += [("config", None, path, value) for path, value in config.items()]
    writer.write_facts([*facts, ("attr", None, "name", "example"), ("attr", None, "tags", ["a", "b"])], START)


def _end(writer: RunWriter) -> None:
    fields = {"state": "finished", "exit_code": 0}
    writer.write_facts([("writer", None, f"{writer.writer_id}.{name}", value) for name, value in fields.items()])
    assert writer.finish(30.0).shipped


def _row(writer: RunWriter, row: int, step: int, cells: dict[str, object]) -> None:
    stamp = START + row * 1_000_000
    packed = {key: pack_value(value) for key, value in cells.items()}
    assert writer.log(stamp, row, step, packed, [RowMark(row, step, stamp, float(row))])


def _values(work: Path, url: str) -> None:
    writer = _open(work, url, "Values")
    _begin(writer, generation="0" * 26, lr=0.1, **{"m.d": 3})
    _row(writer, 0, 0, VALUES)
    writer.write_facts(
        [("config", None, "m", DELETED), ("config", None, "m.e", JsonText("[1]")), ("summary", None, "best", 0.5)]
    )
    _end(writer)


def _ranks(work: Path, url: str) -> None:
    for rank in range(2):
        writer = _open(work, url, "ranks")
        _begin(writer, generation="0" * 25 + "1" if rank == 0 else None, rank=str(rank))
        for number in range(3):
            _row(writer, number, number, {"loss": number + rank / 10})
        _end(writer)


def _merged(work: Path, url: str) -> None:
    writer = _open(work, url, "merged")
    _begin(writer, generation="0" * 25 + "2")
    for number in range(20):
        _row(writer, number, number, {"loss": 1 / (number + 1), "note": f"step {number}"})
        if number % 5 == 0:
            assert writer.flush(30.0)
    _end(writer)


def _late(work: Path, url: str) -> None:
    writer = _open(work, url, "late")
    _begin(writer, generation="0" * 25 + "3")
    for row, step in enumerate([0, 5, 2]):
        _row(writer, row, step, {"acc": step / 10})
    _end(writer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    print(json.dumps(sorted(VALUES)))
