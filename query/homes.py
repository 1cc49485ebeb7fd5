"""Where a run has its home: the root that has it, of several. What is written about the run goes there."""

from __future__ import annotations

from collections.abc import Sequence

from tracker.query.packed import Packed
from tracker.storage.names import encode_name, parse_part_key
from tracker.storage.port import ObjectInfo, Store
from tracker.storage.union_store import UnionStore

__all__ = ["Homes"]


class Homes:
    """Of the runs of one snapshot."""

    def __init__(self, store: Store, listed: Sequence[tuple[Store, Sequence[ObjectInfo]]], packed: Packed) -> None:
        """`listed`: of several roots what each of them has of runs outside of packs."""
        self._store = store
        self._listed = listed
        self._packed = packed
        self._segments: list[frozenset[str]] | None = None

    def at(self, store: Store) -> Homes:
        """The same, of another opening of the same place: what was read may be kept for longer than a store is open."""
        homes = Homes(store, self._listed, self._packed)
        homes._segments = self._segments
        return homes

    def of(self, run_id: str) -> list[Store]:
        """The roots that have anything of the run, in their order; the first of all where none has."""
        if not isinstance(self._store, UnionStore):
            return [self._store]
        if self._segments is None:
            self._segments = [
                frozenset(name.run_segment for info in infos if (name := parse_part_key(info.key)) is not None)
                for _, infos in self._listed
            ]
        segment = encode_name(run_id)
        loose = [root for (root, _), held in zip(self._listed, self._segments, strict=True) if segment in held]
        packed = self._packed.joined.stores_of(run_id) if len(self._packed.joined.sources) > 1 else []
        urls = {root.url for root in (*loose, *packed)}
        return [root for root in self._store.roots if root.url in urls] or [self._store.roots[0]]

    def of_all(self, run_ids: Sequence[str]) -> list[tuple[Store, frozenset[str]]]:
        """Each root with those of these runs that it has."""
        found: dict[str, tuple[Store, set[str]]] = {}
        for run_id in dict.fromkeys(run_ids):
            for root in self.of(run_id):
                found.setdefault(root.url, (root, set()))[1].add(run_id)
        return [(root, frozenset(mine)) for root, mine in found.values()]
