"""The summary as a dict-like object: items, attributes, nested the same way (RUN-4)."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from tracker.sdk.summary import MissingKey

__all__ = ["SummaryView"]


class SummaryView:
    """Values by name, as items and as attributes. Spaces around a name are ignored; `_json_dict` is the plain data.

    What is set or deleted here is stored by `update`, or with the run (RUN-8).
    """

    _json_dict: dict[str, Any]
    _persist: Callable[[], None]

    def __init__(self, tree: dict[str, Any], persist: Callable[[], None] = lambda: None) -> None:
        """`tree` is changed in place; `persist` stores what it has become."""
        vars(self).update(_json_dict=tree, _persist=persist)

    def update(self, d: Mapping[str, Any] | None = None) -> None:
        """Set the values of `d`, then store everything that was changed."""
        for name, value in (d or {}).items():
            self[name] = value
        self._persist()

    def __setitem__(self, name: str, value: Any) -> None:
        self._json_dict[name.strip()] = value._json_dict if isinstance(value, SummaryView) else value

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delitem__(self, name: str) -> None:
        del self._json_dict[name.strip()]

    def __delattr__(self, name: str) -> None:
        if name.strip() not in self._json_dict:
            raise MissingKey(f"the summary has no value {name!r}")
        del self[name]

    def __getitem__(self, name: str) -> Any:
        value = self._json_dict[name.strip()]
        nested = isinstance(value, dict) and "_type" not in value
        return SummaryView(value, self._persist) if nested else value

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and name in vars(self).get("_json_dict", {}):
            return self[name]
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingKey(f"the summary has no value {name!r}")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.strip() in self._json_dict

    def __iter__(self) -> Iterator[str]:
        return iter(self._json_dict)

    def __len__(self) -> int:
        return len(self._json_dict)

    def __eq__(self, other: object) -> bool:
        return self._json_dict == (other._json_dict if isinstance(other, SummaryView) else other)

    __hash__ = None  # type: ignore[assignment]

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def keys(self) -> KeysView[str]:
        return self._json_dict.keys()

    def items(self) -> ItemsView[str, Any]:
        return {name: self[name] for name in self}.items()

    def values(self) -> ValuesView[Any]:
        return {name: self[name] for name in self}.values()

    def __repr__(self) -> str:
        return repr(self._json_dict)
