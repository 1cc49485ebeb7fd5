"""Derived records against a plain reading of the same events: nothing missed, nothing invented, whatever the blocks."""

from __future__ import annotations

import io
import itertools
import math
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.storage import rollup_series, step_buckets
from tracker.storage.derived import DERIVED_SCHEMA, Record
from tracker.storage.events import POINT_KINDS, encode_cell, family_of
from tracker.storage.rollup import Frames, KeyPlaces, Owners, Rollup, collect_closed_rows, read_derived, write_derived
from tracker.storage.schema import PACK_SCHEMA, PackFooter

FOOTER = PackFooter(entity="e", project="p", pack_id="0" * 26, family="r", writers=1)
VALUES = st.one_of(
    st.floats(), st.floats(-1, 1), st.integers(), st.booleans(), st.none(), st.text(max_size=3), st.just([1])
)
Event = dict[str, Any]


def event(run: str, writer: str, seq: int, kind: str, value: Any, **columns: Any) -> Event:
    t, v, i, s = encode_cell(value)
    plain = dict.fromkeys(PACK_SCHEMA.names) | {"run": run, "writer": writer, "seq": seq, "kind": kind}
    return plain | {"hlc": 10 * seq + 5, "ts": seq % 3, "t": int(t), "v": v, "i": i, "s": s} | columns


@st.composite
def writer_events(draw: st.DrawFn, run: str, writer: str) -> list[Event]:
    """Frames of one writer: mostly rows that rise evenly, now and then anything that the format can say."""
    found: list[Event] = []
    row = step = 0
    wild = draw(st.booleans())
    for seq in range(draw(st.integers(0, 14))):
        shape = draw(st.integers(0, 9)) if wild else 9
        if shape == 0:
            name, value = draw(st.sampled_from([("state", "running"), ("started_at", 7), ("job", None), ("rank", 3)]))
            found.append(event(run, writer, seq, "writer", value, key=f"{writer}.{name}"))
            continue
        if shape == 1:
            found.append(event(run, writer, seq, "system", draw(VALUES), key="gpu"))
            continue
        at = draw(st.integers(0, 4)) if shape == 2 else row
        where = draw(st.sampled_from([-5, 0, 3, 2**40])) if shape == 3 else step
        for key in draw(st.lists(st.sampled_from(["b", "a", "ä"]), unique=True, max_size=3)):
            found.append(event(run, writer, seq, "history", draw(VALUES), key=key, row=at, step=where))
        if shape != 4:
            at_step = where + 1 if shape == 5 else where
            found.append(event(run, writer, seq, "row", 0.5 * seq, row=at, step=at_step))
            row, step = row + 1, step + draw(st.integers(1, 3))
    return found


LOGS = st.tuples(writer_events("r1", "w1"), writer_events("r1", "w2"), writer_events("é", "w3"))
OWNERS = Owners([("r1", "w1"), ("r1", "w2"), ("é", "w3")])


def place(one: Event) -> tuple[Any, ...]:
    return (
        one["kind"] in POINT_KINDS, one["kind"], one["key"] or "", one["run"], one["writer"],
        one["step"] if one["step"] is not None else 0, one["seq"], one["row"] or 0,
    )  # fmt: skip


def derived(events: list[Event], sizes: list[int]) -> pa.Table:
    ordered = sorted(events, key=place)
    blocks = []
    for family in "hscf":
        mine = [one for one in ordered if family_of(one["kind"]) == family]
        at = 0
        for size in [*sizes, len(mine)]:
            blocks.append(pa.Table.from_pylist(mine[at : at + size], schema=PACK_SCHEMA))
            at += size
    closed = collect_closed_rows(lambda: blocks, OWNERS, lambda: None)
    places = KeyPlaces()
    for number, (run, writer) in enumerate(OWNERS.pairs):
        first: dict[str, int] = {}
        for one in events:
            if (one["run"], one["writer"], one["kind"]) == (run, writer, "history"):
                first.setdefault(one["key"], one["seq"])
        places.add(number, pa.array(list(first), pa.string()))
    rollup = Rollup(OWNERS, closed, places)
    for block in blocks:
        rollup.add(block)
    frames = {pair: Frames(0, n, f"{n:016d}", "01" * 13) for n, pair in enumerate(OWNERS.pairs)}
    data = write_derived(rollup.records(frames), FOOTER)
    table = read_derived(io.BytesIO(data), "r")
    assert table.schema.equals(DERIVED_SCHEMA)
    return table


class Naive:
    """The same figures, one event at a time."""

    def __init__(self, events: list[Event]) -> None:
        self.markers: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        self.even: dict[tuple[str, str], bool] = dict.fromkeys(OWNERS.pairs, True)
        for one in sorted(events, key=lambda one: one["seq"]):
            if one["kind"] == "row":
                mine = self.markers[one["run"], one["writer"]]
                self.even[one["run"], one["writer"]] &= one["row"] not in mine
                mine[one["row"]] = one["step"]
        self.series: dict[tuple[str, ...], list[Event]] = defaultdict(list)
        self.open: dict[tuple[Any, ...], Event] = {}
        self.plain = dict(self.even)
        for owner, rows in self.markers.items():
            steps = [step for _, step in sorted(rows.items())]
            self.plain[owner] &= all(a < b for a, b in itertools.pairwise(steps))
        cells = set()
        for one in sorted(events, key=place):
            owner = one["run"], one["writer"]
            if one["kind"] == "history":
                at = self.markers[owner].get(one["row"])
                cell = (*owner, one["key"], one["row"])
                self.plain[owner] &= at == one["step"] and cell not in cells
                cells.add(cell)
                if at is None:
                    kept = self.open.get(cell)
                    if kept is None or kept["seq"] < one["seq"]:
                        self.open[cell] = one
                    continue
                mine = self.series["history", one["key"], *owner]
                mine[:] = [old for old in mine if (old["row"], old["step"]) != (one["row"], one["step"])]
            if one["kind"] in ("history", "system", "row"):
                self.series[one["kind"], one["key"] or "", *owner].append(one)


def close(found: float | None, wanted: float | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    if math.isnan(wanted):
        return math.isnan(found)
    return found == wanted or math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-300)


def check_figures(record: dict[str, Any], points: list[Event]) -> None:
    values = [one for one in points if one["v"] is not None and not math.isnan(one["v"])]
    assert record["count"] == len(points)
    assert record["other_count"] == sum(one["v"] is None for one in points)
    assert record["nan_count"] == len(points) - len(values) - record["other_count"]
    assert (record["first_step"], record["last_step"]) == (points[0]["step"], points[-1]["step"])
    assert close(record["first_v"], points[0]["v"])
    assert close(record["last_v"], points[-1]["v"])
    if not values:
        assert [record[name] for name in ("min_v", "max_v", "mean_v", "min_step", "max_step")] == [None] * 5
        return
    least, most = min(values, key=lambda one: one["v"]), max(values, key=lambda one: one["v"])
    assert (record["min_v"], record["min_step"]) == (least["v"], least["step"])
    assert (record["max_v"], record["max_step"]) == (most["v"], most["step"])
    exact = math.fsum(one["v"] / len(values) for one in values) if all(map(math.isfinite, vs(values))) else None
    if exact is not None:
        scale = max(abs(value) for value in vs(values))
        assert math.isclose(record["mean_v"], exact, rel_tol=1e-6, abs_tol=scale * 1e-12)


def vs(points: list[Event]) -> list[float]:
    return [one["v"] for one in points]


@given(logs=LOGS, sizes=st.lists(st.integers(0, 6), max_size=8))
@settings(max_examples=100, deadline=None)
def test_records_say_what_the_events_say(logs, sizes):
    events = [one for log in logs for one in log]
    naive = Naive(events)
    records = derived(events, sizes).to_pylist()
    series = [one for one in records if one["what"] == Record.SERIES]
    found = [(one["kind"], one["key"] or "", one["run"], one["writer"]) for one in series]
    assert found == sorted(naive.series)
    for record, name in zip(series, found, strict=True):
        points = naive.series[name]
        check_figures(record, points)
        greatest = max(points, key=lambda one: (one["seq"], one["row"] or 0))
        assert record["seq"] == greatest["seq"]
        if record["row"] == greatest["row"]:
            wanted = {column: greatest[column] for column in ("hlc", "ts", "step", "t", "i", "s")}
            assert {column: record[column] for column in wanted} == wanted
            assert close(record["v"], greatest["v"])
        assert record["counts"] == [sum(one["t"] == n for one in points) for n in range(7)]
        assert record["first_seq"] == min(one["seq"] for one in points)
        numbers = [math.nan if one["v"] is None else one["v"] for one in points]
        assert record["rising"] == (not any(b < a for a, b in itertools.pairwise(numbers)))
    open_cells = [one for one in records if one["what"] == Record.OPEN]
    assert [(one["run"], one["writer"], one["key"], one["row"], one["seq"]) for one in open_cells] == sorted(
        ((*cell, one["seq"]) for cell, one in naive.open.items()), key=lambda cell: (cell[2], cell[0], cell[1], cell[3])
    )
    check_writers([one for one in records if one["what"] == Record.WRITER], events, naive)


def check_writers(records: list[dict[str, Any]], events: list[Event], naive: Naive) -> None:
    assert [(one["run"], one["writer"]) for one in records] == OWNERS.pairs
    for n, record in enumerate(records):
        owner = OWNERS.pairs[n]
        mine = [one for one in events if (one["run"], one["writer"]) == owner]
        assert (record["first_frame"], record["last_frame"], record["mark"]) == (0, n, f"{n:016d}")
        assert (record["events"], record["rows"]) == (len(mine), len(naive.markers[owner]))
        assert record["plain"] == naive.plain[owner]
        stamps = [one["hlc"] for one in mine]
        assert (record["first_hlc"], record["last_hlc"]) == ((min(stamps), max(stamps)) if mine else (None, None))
        assert record["last_wall_us"] == max((one["hlc"] + one["ts"] for one in mine), default=None)
        said = [one for one in mine if one["kind"] == "writer"]
        assert record["is_session"] == bool(said)
        states = [one["s"] for one in said if one["key"].endswith(".state")]
        assert record["state"] == (states[-1] if states else None)
        assert record["started_at"] == (7 if any(one["key"].endswith(".started_at") for one in said) else None)
        assert (record["job"], record["rank"]) == (None, None)  # no text


@pytest.fixture
def few_buckets(monkeypatch):
    monkeypatch.setattr(rollup_series, "BUCKETED_POINTS", 1)
    monkeypatch.setattr(step_buckets, "BUCKETS_MAX", 4)
    monkeypatch.setattr(step_buckets, "_PIECES_MAX", 6)


@pytest.mark.usefixtures("few_buckets")
def test_buckets_hold_every_point_once_in_the_least_width(monkeypatch):
    @given(logs=LOGS, sizes=st.lists(st.integers(0, 6), max_size=8))
    @settings(max_examples=80, deadline=None)
    def check(logs, sizes):
        events = [one for log in logs for one in log]
        naive = Naive(events)
        records = [one for one in derived(events, sizes).to_pylist() if one["what"] == Record.BUCKET]
        found = [(one["kind"], one["key"] or "", one["run"], one["writer"], one["first_step"]) for one in records]
        assert found == sorted(found)
        grouped = defaultdict(list)
        for record in records:
            grouped[record["kind"], record["key"] or "", record["run"], record["writer"]].append(record)
        assert set(grouped) == {name for name in naive.series if name[0] != "system"}
        for name, buckets in grouped.items():
            points = naive.series[name]
            width = 1
            while points[-1]["step"] // width - points[0]["step"] // width >= 4:
                width *= 2
            assert {bucket["width"] for bucket in buckets} == {width}
            split = defaultdict(list)
            for point in points:
                split[point["step"] // width].append(point)
            assert [bucket["first_step"] // width for bucket in buckets] == sorted(split)
            for bucket in buckets:
                check_figures(bucket, split[bucket["first_step"] // width])

    check()
