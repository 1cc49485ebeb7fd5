"""`run.summary`: the last value of every key, and values set by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tracker.sdk.facts import FactRow, leaves_of, path_of, replace_facts
from tracker.sdk.live import LiveValues
from tracker.sdk.media import MediaPlace
from tracker.sdk.values import summary_value
from tracker.storage.events import KIND_SUMMARY

__all__ = ["MissingKey", "Summary", "SummarySubDict"]

_HIDDEN = "_wandb"


class MissingKey(KeyError, AttributeError):
    """SUM-4 wants KeyError from attribute access as well; as an AttributeError it keeps `hasattr` working."""


class SummarySubDict:
    """A place in the summary's tree. Reading looks up the values of this moment; writing replaces one entry."""

    __slots__ = ("_live", "_path", "_persist", "_place")

    _live: LiveValues
    _path: tuple[str, ...]
    _persist: Callable[[list[FactRow]], None]
    _place: MediaPlace | None

    def __init__(
        self,
        live: LiveValues,
        persist: Callable[[list[FactRow]], None],
        path: tuple[str, ...] = (),
        place: MediaPlace | None = None,
    ) -> None:
        """`persist` writes facts as one frame; it raises when the run no longer takes any. `place` keeps media."""
        object.__setattr__(self, "_live", live)
        object.__setattr__(self, "_persist", persist)
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_place", place)

    def _tree(self) -> dict[str, Any]:
        node: Any = self._live.tree()
        for segment in self._path:
            node = node.get(segment, {}) if isinstance(node, dict) else {}
        return node if isinstance(node, dict) else {}

    def __getitem__(self, key: str) -> Any:
        tree = self._tree()
        if key not in tree:
            raise MissingKey(key)
        value = tree[key]
        if isinstance(value, dict) and "_type" not in value and key != _HIDDEN:
            return SummarySubDict(self._live, self._persist, (*self._path, key), self._place)
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self._write({key: value})

    def __setattr__(self, name: str, value: Any) -> None:
        self._write({name: value})

    def __delitem__(self, key: str) -> None:
        if key not in self._tree():
            raise MissingKey(key)
        path = path_of((*self._path, key), "summary")
        self._persist(replace_facts(KIND_SUMMARY, path, []))
        self._live.replace(path, [])

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __contains__(self, key: object) -> bool:
        return key in self._tree()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        return [key for key in self._tree() if key != _HIDDEN]

    def items(self) -> list[tuple[str, Any]]:
        return [(key, self[key]) for key in self.keys()]

    def values(self) -> list[Any]:
        return [self[key] for key in self.keys()]

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def update(self, d: Mapping[str, Any]) -> None:
        """Set each key of `d`; a dict as a value replaces what stood under its key."""
        self._write(dict(d))

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dicts."""
        return {key: value for key, value in self._tree().items() if key != _HIDDEN}

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SummarySubDict):
            return self.as_dict() == other.as_dict()
        return self.as_dict() == other if isinstance(other, dict) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def _write(self, entries: dict[str, Any]) -> None:
        changes = []
        for key, value in entries.items():
            path = path_of((*self._path, str(key)), "summary")
            changes.append((path, leaves_of(path, summary_value(value, str(key), self._place))))
        self._persist([fact for path, leaves in changes for fact in replace_facts(KIND_SUMMARY, path, leaves)])
        for path, leaves in changes:
            self._live.replace(path, leaves)


class Summary(SummarySubDict):
    """The whole summary of a run."""

    __slots__ = ()
