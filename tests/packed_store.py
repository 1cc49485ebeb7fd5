"""Projects of very many finished runs as listing sees them: a checkpoint and a manifest, made from arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from store_maker import T0

from tracker.storage.derived import DERIVED_SCHEMA, Record, write_derived
from tracker.storage.events import Type
from tracker.storage.manifest import Checkpoint, Manifest, Pack, publish_manifest
from tracker.storage.names import new_ulid, pack_key
from tracker.storage.port import Store
from tracker.storage.schema import PackFooter

__all__ = ["STEPS", "packed_project"]

STEPS = 1000
_CONFIG = 12
_METRICS = ("acc", "grad", "loss", "lr", "val.acc", "val.loss")


def packed_project(store: Store, runs: int, *, packs: int = 1, project: str = "p") -> list[str]:
    """Ids of `runs` runs with 30 facts each (config, attributes, last values), in `packs` packs with a checkpoint each.

    Run n began n minutes after the first one; config.p0 is n. The packs have no points.
    """
    ids = [f"r{n:06d}" for n in range(runs)]
    listed, checkpoints = [], []
    for number in range(packs):
        mine = range(number * runs // packs, (number + 1) * runs // packs)
        pack = new_ulid(T0 + number, number.to_bytes(10))
        footer = PackFooter(entity="main", project=project, pack_id=pack, family="k", writers=len(mine))
        data = write_derived(_records(ids, mine, pack), footer)
        store.put_if_absent(pack_key("main", project, pack, "k"), data)
        last_us = T0 + runs * 60_000_000
        listed.append(
            Pack(id=pack, families={"f": 1, "h": 1}, writers=len(mine), events=1, hlc_max_us=last_us, since=0)
        )
        checkpoints.append(Checkpoint(id=pack, size_bytes=len(data), packs=(pack,), hlc_max_us=last_us))
    manifest = Manifest(number=0, nonce="made", packs=tuple(listed), checkpoints=tuple(checkpoints))
    assert publish_manifest(store, "main", project, manifest)
    return ids


def _records(ids: list[str], mine: range, pack: str) -> list[pa.Table]:
    count = len(mine)
    number = np.array(mine)
    start = T0 + number * 60_000_000
    end = start + 30_000_000
    writers = [new_ulid(int(us), int(n).to_bytes(10)) for us, n in zip(start, number, strict=True)]
    owner = {"run": _each([ids[n] for n in mine]), "writer": _each(writers), "pack": _same(pack, count)}
    zero = np.zeros(count, np.int64)

    def table(what: str, **columns: Any) -> pa.Table:
        given = owner | {"what": _same(what, count), "seq": zero, "hlc": start, "ts": zero} | columns
        names = [name for name in DERIVED_SCHEMA.names if name in given]
        return pa.table({name: pa.array(given[name], DERIVED_SCHEMA.field(name).type) for name in names})

    def fact(kind: str, key: pa.DictionaryArray, t: Type, **cell: Any) -> pa.Table:
        empty = {"v": [None] * count, "i": [None] * count, "s": [None] * count}
        return table(
            Record.FACT,
            kind=_same(kind, count),
            key=key,
            t=np.full(count, t, np.int8),
            **(empty | cell),
        )

    texts = {"host": "node", "name": "run", "program": "train.py", "username": "ann"}
    facts = [fact("attr", _same(key, count), Type.STRING, s=[text] * count) for key, text in texts.items()]
    facts += [
        fact(
            "config",
            _same(f"p{n:02d}" if n else "p0", count),
            Type.INT,
            v=(number * (n + 1)).astype(float),
            i=number * (n + 1),
        )
        for n in range(_CONFIG)
    ]
    for name, us in {"ended_at": end, "started_at": start}.items():
        facts.append(
            fact("writer", _each([f"{writer}.{name}" for writer in writers]), Type.INT, v=us.astype(float), i=us)
        )
    for name, said in {"generation": writers, "state": ["finished"] * count}.items():
        facts.append(fact("writer", _each([f"{writer}.{name}" for writer in writers]), Type.STRING, s=said))
    rows = {
        "row": np.full(count, STEPS - 1),
        "step": np.full(count, STEPS - 1),
        "hlc": end,
        "t": np.zeros(count, np.int8),
        "count": np.full(count, STEPS),
        "first_step": zero,
        "last_step": np.full(count, STEPS - 1),
    }
    rng = np.random.default_rng(mine.start)
    counts = [[STEPS] + [0] * (len(Type) - 1)] * count
    series = [
        table(
            Record.SERIES,
            kind=_same("history", count),
            key=_same(key, count),
            v=rng.random(count),
            counts=counts,
            rising=np.zeros(count, bool),
            place=np.full(count, n),
            **rows,
        )
        for n, key in enumerate(_METRICS)
    ]
    marks = {"counts": [None] * count, "rising": [None] * count, "place": [None] * count}
    series.append(
        table(
            Record.SERIES, kind=_same("row", count), key=[None] * count, v=np.full(count, 30.0), **rows, **marks
        ).select(series[0].column_names)
    )
    writer = table(
        Record.WRITER,
        first_frame=zero,
        last_frame=np.full(count, STEPS),
        events=np.full(count, STEPS * 7),
        rows=np.full(count, STEPS),
        first_hlc=start,
        last_hlc=end,
        last_wall_us=end,
        plain=np.ones(count, bool),
        is_session=np.ones(count, bool),
        state=["finished"] * count,
        started_at=start,
        ended_at=end,
    )
    return [*facts, *series, writer]


def _same(word: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([word]))


def _each(words: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.arange(len(words), dtype=np.int32)), pa.array(words))
