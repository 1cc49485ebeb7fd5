"""What a store holds, event by event, read with nothing but part choice and the schema."""

import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.choose import choose_files
from tracker.storage.names import parse_part_key
from tracker.storage.port import Get, ListKeys
from tracker.storage.schema import read_events


class Readable(Get, ListKeys):
    """A store that can be listed and read."""


def read_back(store: Readable) -> dict[str, pa.Table]:
    """Events per writer id, each frame taken from exactly one file; asserts that nothing is missing below the last."""
    keys = {name: info.key for info in store.list("") if (name := parse_part_key(info.key)) is not None}
    choice = choose_files(keys)
    assert not choice.holes
    assert not choice.divergences
    tables: dict[str, list[pa.Table]] = {}
    for pick in choice.picks:
        for part in pick.families("fhsc"):
            footer, events = read_events(pa.BufferReader(store.get(keys[part])), keys[part])
            assert (footer.first, footer.last, footer.mark) == (part.first, part.last, part.mark)
            assert footer.rows == events.num_rows
            tables.setdefault(part.writer_id, []).append(events.filter(pc.greater_equal(events["seq"], pick.first)))
    return {writer: pa.concat_tables(found).unify_dictionaries() for writer, found in tables.items()}


def history(store: Readable) -> dict[str, list[tuple[int, str, object]]]:
    """Per writer the committed (row, key, value) cells, in order."""
    from tracker.storage.events import decode_cell

    out = {}
    for writer, events in read_back(store).items():
        rows = events.to_pylist()
        committed = {row["row"] for row in rows if row["kind"] == "row"}
        out[writer] = sorted(
            (row["row"], row["key"], decode_cell(row["t"], row["v"], row["i"], row["s"]))
            for row in rows
            if row["kind"] == "history" and row["row"] in committed
        )
    return out
