"""Things (projects, users, teams, reports, ...) as they stand: facts of many writers folded, like a run's."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from tracker.query.fact_files import read_fact_files
from tracker.query.readable_parts import StartOver
from tracker.storage.cache import PartCache
from tracker.storage.clock import MAX_AHEAD_US
from tracker.storage.errors import CorruptData
from tracker.storage.events import Fact, Value, decode_cell, unflatten
from tracker.storage.fold import fold_facts, fold_tombstone
from tracker.storage.format_file import check_format_once
from tracker.storage.names import PartName, encode_name, parse_thing_key, thing_prefix, things_prefix
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Thing", "Things", "read_things"]

_PAUSES_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0)  # before each attempt; a merge puts and deletes within these
_FOLDERS_MAX: Final = 8  # ids that are listed one by one; more of them: the whole kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing as it stands. `live`: its leaves, stored path to value; see `value` for the tree."""

    id: str
    live: Mapping[str, Value]
    created_us: int  # stamp of the first fact that counts, microseconds since the epoch
    updated_us: int  # and of the last

    @property
    def value(self) -> dict[str, Any]:
        """The leaves as nested dicts, a new one each time."""
        return unflatten(sorted(self.live.items()))

    def get(self, *segments: str) -> Value:
        """The value at a path, a nested dict where it has leaves below; None where there is nothing."""
        node: Any = self.value
        for segment in segments:
            node = node.get(segment) if isinstance(node, dict) else None
        return node


@dataclass(frozen=True, slots=True)
class Things(Mapping[str, Thing]):
    """Things by id, sorted by it, without deleted ones."""

    found: Mapping[str, Thing] = field(default_factory=dict)
    hlc_max_us: int = 0  # greatest stamp of all that was read, deleted things too; a day and more ahead not
    store_now_us: int = 0  # time of the newest object, by the store's clock; 0 where the store does not say

    def __getitem__(self, thing_id: str) -> Thing:
        return self.found[thing_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def read_things(
    store: Store,
    cache: PartCache,
    entity: str,
    project: str,
    kind: str,
    ids: Collection[str] | None = None,
    *,
    warn: Callable[[str], None],
    as_of_us: int | None = None,
) -> Things:
    """All things of a kind, or those among `ids` that there are. One listing (of few ids: one each).

    With `as_of_us` only facts count whose stamp is not later. A file that cannot be read among good ones is left out,
    and `warn` is told its name and why. Whoever changes a thing afterwards lets its clock observe `hlc_max_us` first.

    A thing that was deleted shows again with what is written of it later; a process that changes it, not knowing that
    it was deleted, brings back no more than its change. So a reader of a kind takes for there what has the leaf that
    its makers always write.

    Raises:
        UsageError: no kind of a thing.
        CorruptData: frames are missing and stay missing, or nothing is readable. FormatTooNew: of a newer tracker.
        NotFound: the root itself is missing. StorageUnavailable, CredentialsMissing: as the store.
    """
    check_format_once(store)
    prefixes = [things_prefix(entity, project, kind)]
    if ids is not None and len(set(ids)) <= _FOLDERS_MAX:
        prefixes = sorted({thing_prefix(entity, project, kind, one) for one in ids})
    for last, pause_s in enumerate(_PAUSES_S, start=1 - len(_PAUSES_S)):
        if pause_s:
            time.sleep(pause_s)
        listed = [info for prefix in prefixes for info in store.list(prefix)]
        try:
            found = _read(store, cache, kind, listed, warn, as_of_us)
        except StartOver as again:
            if last == 0:
                raise again.error from again
            continue
        shown = {one: thing for one, thing in sorted(found.found.items()) if ids is None or one in ids}
        return Things(shown, found.hlc_max_us, found.store_now_us)
    raise AssertionError("the last attempt returns or raises")


def _read(
    store: Store,
    cache: PartCache,
    kind: str,
    listed: Sequence[ObjectInfo],
    warn: Callable[[str], None],
    as_of_us: int | None,
) -> Things:
    objects = {name: info for info in listed if (name := parse_thing_key(info.key)) is not None}
    files = read_fact_files(store, cache, objects, what="things")
    bad = dict(files.bad)
    facts: dict[str, list[Fact]] = {}
    for part, table in files.pieces:
        found = _facts(part, table, as_of_us)
        if any(part.run_segment != f"{kind}/{encode_name(fact.subject)}" for fact in found):
            shown = objects[part].shown_in(store.url)
            bad[part] = CorruptData(f"{shown} tells of another thing than its folder says. Move it back.")
            continue
        for fact in found:
            facts.setdefault(fact.subject, []).append(fact)
    if bad and not facts:
        raise next(iter(bad.values()))
    for error in bad.values():
        warn(f"{error} It is left out of the answer.")
    for split in files.divergences:
        keys = " and ".join(objects[part].key for part in split.parts)
        warn(f"{keys} in {store.url} tell two histories of one writer (a copied machine?). They are left out.")
    things = {one: thing for one, said in facts.items() if (thing := _fold(one, kind, said)) is not None}
    store_now_us = max((info.modified_us for info in objects.values()), default=0)
    sane_us = store_now_us + MAX_AHEAD_US if store_now_us else None
    stamps = (fact.hlc_us for said in facts.values() for fact in said)
    sane = (stamp for stamp in stamps if sane_us is None or stamp <= sane_us)
    return Things(things, max(sane, default=0), store_now_us)


def _facts(part: PartName, table: pa.Table, as_of_us: int | None) -> list[Fact]:
    return [
        Fact(
            kind=row["kind"],
            subject=row["subject"] or "",
            path=row["key"],
            value=decode_cell(row["t"], row["v"], row["i"], row["s"]),
            hlc_us=row["hlc"],
            writer_id=part.writer_id,
            seq=row["seq"],
        )
        for row in table.to_pylist()
        if as_of_us is None or row["hlc"] <= as_of_us
    ]


def _fold(thing_id: str, kind: str, facts: Iterable[Fact]) -> Thing | None:
    """The thing as its facts make it; None where nothing of it is left."""
    facts = list(facts)
    tombstone = fold_tombstone(facts)
    shown = [
        fact for fact in facts if fact.kind == kind and (tombstone is None or fact.hlc_us > tombstone.hlc_us)
    ]
    live = fold_facts(((0, fact.hlc_us, fact.writer_id, fact.seq), fact) for fact in shown).get(kind)
    if not live:
        return None
    stamps = [fact.hlc_us for fact in shown]
    return Thing(id=thing_id, live=live, created_us=min(stamps), updated_us=max(stamps))
