"""Moves one writer's log into the store: cut between frames, encode once, put, mark; merge; delete what is covered.

The engine without a clock of its own and without threads: `pump.py` runs it beside the training,
`ship.py` as a process, `sync.py` by hand. One at a time per spool (`Spool.ship_lock`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from tracker.storage.alike import count_alike, decode_alike
from tracker.storage.blobs import BlobShipper
from tracker.storage.columns import EventBuilder
from tracker.storage.contents import ContentSource
from tracker.storage.errors import CorruptData, KeyTaken, StorageUnavailable
from tracker.storage.frames import Log, Lost, decode_frame
from tracker.storage.keys import TEMPORARY
from tracker.storage.merge import verify_covering
from tracker.storage.names import PartName, encode_name, parse_part_key, run_prefix
from tracker.storage.own_merges import OwnMerges
from tracker.storage.port import Delete, Get, ListKeys, LocalPath, PutContents, PutFile, PutIfAbsent
from tracker.storage.schema import PartFooter, parse_footer, write_events
from tracker.storage.spool import ShipState, Spool
from tracker.storage.wal import Damage, FrameBlock, WalReader

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CUT_BYTES", "ShipStore", "Shipper", "open_row_after"]

CUT_BYTES: Final = 1 << 20  # at most this much log in one part
_FRAMES_PER_BREATH: Final = 32


class ShipStore(PutIfAbsent, PutFile, PutContents, Get, ListKeys, Delete, LocalPath, Protocol):
    """The verbs that shipping needs."""


@dataclass(slots=True)
class _Pending:
    """A part that is encoded and not yet acknowledged: a retry sends the same name and the same bytes."""

    name: PartName
    data: bytes
    rows: int
    log_bytes: int
    state: ShipState  # what holds once the store has it
    events: pa.Table | None  # until the contents that they name are in the store
    named: set[str] = field(default_factory=set)  # hashes of those that waited here


class Shipper:
    """Ships one spool. Every method may raise what the store raises and can then be called again."""

    def __init__(
        self,
        spool: Spool,
        store: ShipStore,
        *,
        wall: Callable[[], int],
        monotonic_s: Callable[[], float],
        notify: Callable[[str, str], None],
        breathe: Callable[[], None] = lambda: None,
        grace_s: float,
        on_blobs: Callable[[int], None] = lambda _: None,
        former: ContentSource | None = None,
    ) -> None:
        """`on_blobs`: told how many contents the store newly has. `former`: the store that had the log before, which
        has contents that are no longer here.
        """
        self._spool, self._store = spool, store
        self._wall, self._monotonic_s = wall, monotonic_s
        self._notify, self._breathe = notify, breathe
        self._grace_s = grace_s
        self._prefix = run_prefix(spool.owner.ref) + spool.owner.writer_id + "/"
        self._began_us = wall()
        self._state: ShipState | None = None
        self._reader: WalReader | None = None
        self._pending: _Pending | None = None
        self._merges = OwnMerges(
            store,
            self._prefix,
            spool.path,
            writer=(encode_name(spool.owner.run_id), spool.owner.writer_id),
            footer=self._footer,
            monotonic_s=monotonic_s,
            notify=notify,
            breathe=breathe,
        )
        self.blobs = BlobShipper(spool.path, spool.owner.ref, store, on_blobs, former)
        self.shipped_bytes = 0  # of the log, by this object
        self._covered_since: dict[str, float] = {}  # covering file to this process's own stopwatch, never a wall clock

    @property
    def state(self) -> ShipState:
        """How far the store has the log. Recovered on first use: the note in the spool, else the names in the store."""
        if self._state is None:
            self._state = self._spool.load_state() or self._recover()
        return self._state

    def ship_once(self, *, bytes_max: int = CUT_BYTES, writer_gone: bool = False) -> int:
        """Put one part of what is waiting, and before it the contents that it names.

        Returns how many frames the store newly has; 0: nothing was waiting.
        """
        if self._pending is None:
            self._pending = self._cut(bytes_max, writer_gone)
        if self._pending is None:
            return 0
        pending = self._pending
        if pending.events is not None:
            pending.named = self.blobs.put(pending.events)
            pending.events = None
        self._put(pending.name, pending.data)
        self.blobs.acknowledged(pending.named)
        state = self.state
        after = pending.state
        shipped = after.next_seq - state.next_seq
        for name in ("next_seq", "crc", "adler", "open_row", "run_start_us"):
            setattr(state, name, getattr(after, name))
        state.parts.append(_note(pending.name, pending.rows))
        self.shipped_bytes += pending.log_bytes
        self._pending = None
        # where frames go for good, the note that the store has them must survive a power cut
        noted = self._keep_note(durable=bool(self._spool.segments_below(state.next_seq)))
        self._spool.remove_segments_below(state.next_seq)
        if not noted:
            self._keep_note()
        return shipped

    def _keep_note(self, *, durable: bool = False) -> bool:
        """False: the disk is full. Then no note is there: an old one would count on frames that are about to go."""
        try:
            self._spool.save_state(self.state, durable=durable)
        except OSError as exc:
            if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            self._spool.forget_state()
            return False
        return True

    def merge(self, *, at_finish: bool = False, until_s: float | None = None) -> bool:
        """Put one file, or one set of files, for many small neighbours; a large merge stops at `until_s` (monotonic)
        and goes on with the next call. True: something was done, maybe there is more to do.
        """
        state = self.state
        covered = len(state.covered)
        more = self._merges.advance(state, self._keep_note, at_finish=at_finish, until_s=until_s)
        for entry in state.covered[covered:]:
            self._covered_since[entry["by"][-1]] = self._monotonic_s()
            self._keep_note()
        return more

    def sweep(self, *, store_now_us: int | None = None) -> int:
        """Delete what a verified covering file older than the grace time covers. Returns how many objects went.

        The age is this process's own stopwatch since the put was acknowledged, or, for a process that
        came later, `store_now_us` (the store's clock) against the covering object's time in the listing.
        """
        state = self.state
        if not state.covered:
            return 0
        if store_now_us is None:
            now, since = self._monotonic_s(), self._covered_since
            ripe = [entry for entry in state.covered if now - since.get(entry["by"][-1], now) >= self._grace_s]
        else:
            modified = {info.key: info.modified_us for info in self._store.list(self._prefix)}
            limit = store_now_us - int(self._grace_s * 1e6)
            listed = {key.removeprefix(self._prefix) for key in modified}
            forgotten = [entry for entry in state.covered if listed.isdisjoint(entry["by"] + entry["names"])]
            if forgotten:  # packed or purged by somebody, who deleted both what was covered and what covered it
                state.covered = [entry for entry in state.covered if entry not in forgotten]
                self._keep_note()
            ripe = [
                entry
                for entry in state.covered
                if all(modified.get(self._prefix + name, store_now_us) <= limit for name in entry["by"])
            ]
        gone = 0
        for entry in ripe:
            if verify_covering(self._store, self._prefix, entry["by"], self._breathe):
                commits = [name for name in entry["names"] if name[0] in "ef"]  # first: the others count with them
                self._store.delete([self._prefix + name for name in sorted(commits)])
                self._store.delete([self._prefix + name for name in sorted(set(entry["names"]) - set(commits))])
                state.covered.remove(entry)
                gone += len(entry["names"])
        if gone:
            self._keep_note()
        return gone

    def mark_finished(self) -> None:
        """Everything is in the store: note it and drop the log; what is still covered keeps the directory.

        Raises:
            StorageUnavailable: the log has more, and stays. Ship it first.
        """
        state = self.state
        if any(True for _ in WalReader(self._spool.path, next_seq=state.next_seq).read(bytes_max=1, writer_gone=True)):
            text = f"Frames from {state.next_seq} on are in {self._spool.path} and not in the store. They are kept."
            raise StorageUnavailable(text)
        state.finished = True
        self._keep_note()
        self._remove_leftovers()
        self._spool.remove_log(directory_too=not state.covered)

    def _remove_leftovers(self) -> None:
        """In a local store: half-written files of an earlier process that was killed while it wrote for this writer."""
        folder = self._store.local_path(f"{self._prefix}x")
        if folder is None:
            return
        with contextlib.suppress(OSError), os.scandir(folder.parent) as entries:
            for entry in entries:
                if entry.name.startswith(TEMPORARY) and entry.stat().st_mtime * 1e6 < self._began_us:
                    os.unlink(entry.path)  # if somebody is writing it after all: they begin again

    def waiting(self) -> bool:
        """Whether the log holds whole frames that the store does not have."""
        if self._pending is not None:
            return True
        return any(True for _ in WalReader(self._spool.path, next_seq=self.state.next_seq).read(bytes_max=1))

    def _recover(self) -> ShipState:
        """Without a readable note: from the names of this writer's parts. Cutting again overlaps, which is harmless."""
        state = ShipState()
        parts = [name for info in self._store.list(self._prefix) if (name := parse_part_key(info.key)) is not None]
        while True:
            more = [part for part in parts if part.first <= state.next_seq <= part.last and part.family in "ef"]
            if not more:
                return state
            best = max(more, key=lambda part: (part.last, part.family))
            state.next_seq = best.last + 1
            state.crc, state.adler = int(best.mark[:8], 16), int(best.mark[8:], 16)

    def _cut(self, bytes_max: int, writer_gone: bool) -> _Pending | None:
        state = self.state
        if self._reader is None or self._reader.next_seq != state.next_seq:
            self._reader = WalReader(self._spool.path, next_seq=state.next_seq)
        builder = EventBuilder(self._breathe)
        after = replace(state, parts=[], covered=[])
        log_bytes = 0
        for item in self._reader.read_blocks(count_alike, bytes_max=bytes_max, writer_gone=writer_gone):
            if isinstance(item, Damage):
                builder.add(item.first, self._lost(item))
                raw: Any = f"lost {item.first}-{item.last}".encode()
                after.next_seq = item.last + 1
            else:
                block = item if isinstance(item, FrameBlock) else FrameBlock(item.seq, 1, item.raw)
                self._add_frames(builder, block, after)
                raw, after.next_seq = block.raw, block.seq + block.count
            after.crc, after.adler = zlib.crc32(raw, after.crc), zlib.adler32(raw, after.adler)
            log_bytes += len(raw)
        if after.next_seq == state.next_seq:
            return None
        events = builder.table()
        owner = self._spool.owner
        name = PartName(
            encode_name(owner.run_id), owner.writer_id, "e", state.next_seq, after.next_seq - 1, after.mark
        )
        data = write_events(events, self._footer(name, name.first), level=1)
        return _Pending(name, data, events.num_rows, log_bytes, after, events)

    def _add_frames(self, builder: EventBuilder, block: FrameBlock, after: ShipState) -> None:
        """Decode into `builder`, and note in `after` which row stays open."""
        done, look_at = 0, 0
        while done < block.count:
            rows = decode_alike(block, done) if after.open_row is None and done >= look_at else None
            if rows is not None:
                builder.add_alike(block.seq + done, rows)
                after.run_start_us = int(rows.mark_ts[-1]) - round(float(rows.runtime_s[-1]) * 1e6)
                done += rows.count
                continue
            look_at = done + _FRAMES_PER_BREATH if done >= look_at else look_at
            item = block.frame(done)
            frame = self._decode(item.seq, item.payload)
            builder.add(item.seq, frame)
            if isinstance(frame, Log):
                after.open_row = open_row_after(after.open_row, frame)
                for closed in frame.closes:
                    after.run_start_us = closed.ts_us - round(closed.runtime_s * 1e6)
            done += 1
            if item.seq % _FRAMES_PER_BREATH == 0:
                self._breathe()

    def _decode(self, seq: int, payload: memoryview) -> Any:
        try:
            return decode_frame(payload)
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as exc:
            text = f"Frame {seq} of {self._spool.path} cannot be decoded ({exc}); it is recorded as lost."
            self._notify("error", text)
            return Lost(self._wall(), self._wall(), f"undecodable: {exc}")

    def _lost(self, damage: Damage) -> Lost:
        text = f"frames {damage.first} to {damage.last} were damaged on disk, {damage.where}"
        self._notify("error", f"{self._spool.path}: {text}. What follows is intact; the loss is recorded in the run.")
        return Lost(self._wall(), self._wall(), text)

    def _put(self, name: PartName, data: bytes) -> None:
        key = self._key(name)
        try:
            self._store.put_if_absent(key, data)
        except KeyTaken:  # encoded by another release, say: the same frames under the same history are the same part
            import pyarrow as pa
            import pyarrow.parquet as pq

            held = parse_footer(pq.read_metadata(pa.BufferReader(self._get(key))), key)
            if (held.first, held.last, held.mark) != (name.first, name.last, name.mark):
                text = f"{key} holds another history than its name says. Keep both files and report it."
                raise CorruptData(text) from None

    def _get(self, key: str) -> bytes:
        return self._store.get(key)

    def _key(self, part: PartName) -> str:
        return self._prefix + part.file_name

    def _footer(self, part: PartName, first: int) -> PartFooter:
        from tracker import __version__

        owner = self._spool.owner
        return PartFooter(
            entity=owner.entity,
            project=owner.project,
            run_id=owner.run_id,
            writer_id=owner.writer_id,
            family=part.family,
            first=first,
            last=part.last,
            mark=part.mark,
            created_by=f"tracker {__version__}",
        )


def _note(name: PartName, rows: int) -> dict[str, Any]:
    return {"family": name.family, "first": name.first, "last": name.last, "mark": name.mark, "rows": rows}


def open_row_after(open_row: list[int] | None, frame: Log) -> list[int] | None:
    """[row, step, wall time] of the row whose cells wait for their marker after `frame`, or None."""
    closed = {mark.row for mark in frame.closes}
    if frame.cells and frame.row not in closed:
        return [frame.row, frame.step, frame.ts_us]
    return None if open_row is not None and open_row[0] in closed else open_row
