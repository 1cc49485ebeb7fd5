"""The summary as a dict-like object: items, attributes, nested the same way (RUN-4)."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any

__all__ = ["SummaryView"]


class SummaryView:
    """Values by name, as items and as attributes. Spaces around a name are ignored; `_json_dict` is the plain data."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._json_dict = tree

    def __getitem__(self, name: str) -> Any:
        return _shown(self._json_dict[name.strip()])

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and name in vars(self).get("_json_dict", {}):
            return self[name]
        raise AttributeError(f"the summary has no value {name!r}")

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


def _shown(value: Any) -> Any:
    return SummaryView(value) if isinstance(value, dict) and "_type" not in value else value
