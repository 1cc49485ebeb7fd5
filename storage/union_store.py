"""Several roots as one store: what any of them has is there, once. What is new goes to the first of them.

Objects never change, and names say what is in them, so one object that lies in several roots is one object. Only
manifests are not: each root has its own, under the same names, and `tracker.query.listing` reads them root by root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from tracker.storage.errors import CredentialsMissing, NotFound, StorageUnavailable, UsageError
from tracker.storage.port import ObjectInfo, SignUrl, Store

__all__ = ["UnionStore"]

_PLACES_MAX: Final = 10_000  # keys of which is remembered who has them

T = TypeVar("T")
_Blobs = list[bytes | None]  # inside the class, `list` is the method
_Listing = list[ObjectInfo]
_Stores = list[Store]
_Paths = list[Path | None]


class UnionStore:
    """All of `roots`, in the order in which they are asked. Every request that fails names its root."""

    def __init__(self, roots: Sequence[Store]) -> None:
        self.roots = tuple(roots)
        self.url = " + ".join(root.url for root in roots)
        self._places: dict[str, Store] = {}

    def each(self, ask: Callable[[Store], T]) -> list[T]:
        """The answers of all roots, in their order; remote ones are asked at the same time.

        Raises:
            UsageError: there is no such root. StorageUnavailable, CredentialsMissing: one does not answer, or refused
                us. All of them name the root: an answer without it would be silently less.
        """
        if not any("://" in root.url for root in self.roots):
            return [self._asked(root, ask) for root in self.roots]
        from concurrent.futures import ThreadPoolExecutor  # a run that ends while Python exits cannot import it

        with ThreadPoolExecutor(len(self.roots)) as pool:
            asked = [pool.submit(self._asked, root, ask) for root in self.roots]
        return [one.result() for one in asked]

    def _asked(self, root: Store, ask: Callable[[Store], T]) -> T:
        try:
            return ask(root)
        except NotFound as exc:
            raise UsageError(
                f"There is no root {root.url}, one of the {len(self.roots)} that were named ({exc}) "
                "Check its name, or leave it out."
            ) from exc
        except (StorageUnavailable, CredentialsMissing) as exc:
            raise type(exc)(f"{root.url}, one of {len(self.roots)} roots, does not answer: {exc}") from exc

    def from_roots(
        self, objects: Sequence[ObjectInfo], fetch: Callable[[Store, Sequence[ObjectInfo]], _Paths]
    ) -> _Paths:
        """What `fetch` brings of each object, from the root that listed it; else from the first that has it."""
        found: _Paths = [None] * len(objects)
        for root in self.roots:
            mine = [n for n, info in enumerate(objects) if found[n] is None and info.root in ("", root.url)]
            if mine:
                chosen = [objects[n] for n in mine]
                brought = self._asked(root, partial(_brought, fetch, chosen))
                for n, path in zip(mine, brought, strict=True):
                    found[n] = path
        return found

    def home_of(self, name: str) -> Store:
        """The first root that has something below this prefix (or this object), else that has the project at all;
        where none has, the first of all.
        """
        project = "/".join([*name.split("/")[:2], ""]) if name.count("/") > 1 else name
        for place in dict.fromkeys([name, project]) if name else ():
            known = self._places.get(place)
            if known is not None:
                return known
            for root in self.roots:
                if self._asked(root, partial(_has, name=place)):
                    return self._remember(place, root)
        return self.roots[0]

    def _remember(self, key: str, root: Store) -> Store:
        if len(self._places) >= _PLACES_MAX:
            self._places.clear()
        self._places[key] = root
        return root

    def _first(self, key: str, ask: Callable[[Store], T]) -> T:
        """The answer of the first root that has the object."""
        known = self._places.get(key)
        for root in [known, *self.roots] if known is not None else self.roots:
            with suppress(NotFound):
                found = ask(root)
                self._remember(key, root)
                return found
        raise NotFound(f"There is no {key} in {self.url}.")

    # the verbs of the port

    def get(self, key: str) -> bytes:
        return self._first(key, lambda root: root.get(key))

    def get_many(self, keys: Sequence[str]) -> _Blobs:
        found: _Blobs = [None] * len(keys)
        for root in self.roots:
            missing = [n for n, data in enumerate(found) if data is None]
            for n, data in zip(missing, root.get_many([keys[n] for n in missing]) if missing else (), strict=True):
                found[n] = data
        return found

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self._first(key, lambda root: root.get_range(key, start, end))

    def list(self, prefix: str) -> _Listing:
        return self.join_listings(self.each(lambda root: root.list(prefix)))

    def join_listings(self, listed: Sequence[_Listing]) -> _Listing:
        """Of each root (in their order) what it lists, as one listing, in which each key stands once."""
        found: dict[str, ObjectInfo] = {}
        for root, infos in zip(self.roots, listed, strict=True):
            for info in infos:
                if info.key not in found:
                    found[info.key] = replace(info, root=root.url)
        return [found[key] for key in sorted(found)]

    def list_dirs(self, prefix: str) -> Sequence[str]:
        return sorted({name for names in self.each(lambda root: root.list_dirs(prefix)) for name in names})

    def put_if_absent(self, key: str, data: bytes) -> None:
        self.roots[0].put_if_absent(key, data)

    def put_file_if_absent(self, key: str, path: Path) -> None:
        self.roots[0].put_file_if_absent(key, path)

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        self.roots[0].put_contents(contents)

    def enforces_put_if_absent(self) -> bool:
        return self.roots[0].enforces_put_if_absent()

    def delete(self, keys: Iterable[str]) -> None:
        names = tuple(keys)
        for name in names:
            self._places.pop(name, None)
        self.each(lambda root: root.delete(names))

    def local_path(self, key: str) -> Path | None:
        """The file in the first local root that has it; None where it may lie in a remote one."""
        paths = [root.local_path(key) for root in self.roots]
        there = next((path for path in paths if path is not None and path.exists()), None)
        return there if there is not None or None in paths else paths[0]

    def signed_url(self, key: str, valid_s: int) -> str | None:
        """As `port.SignUrl`; None too where the root that has the object is a place that has no addresses."""
        root = self.home_of(key)
        return root.signed_url(key, valid_s) if isinstance(root, SignUrl) else None

    def close(self) -> None:
        for root in self.roots:
            root.close()


def _has(root: Store, name: str) -> bool:
    """Whether there is an object of this name, or (where it ends in "/") any below it."""
    try:
        if name.endswith("/"):
            return bool(root.list_dirs(name)) or bool(root.list(name))
        root.get_range(name, 0, 1)
    except NotFound:
        return False
    return True


def _brought(
    fetch: Callable[[Store, Sequence[ObjectInfo]], _Paths], objects: Sequence[ObjectInfo], root: Store
) -> _Paths:
    return fetch(root, objects)
