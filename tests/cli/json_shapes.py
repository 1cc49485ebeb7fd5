"""The shape of a JSON value: its keys and the types of what stands at them, without the values."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["PAGE", "documented", "merged", "shape_of", "shape_text"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"

ANY = "any"
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def shape_of(
    value: Any, maps: Collection[str] = (), at: str = "", empty: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """Types in place of values; items of a list as one. `maps`: paths (keys joined by `.`) of dicts whose keys are
    data: they are shown as one, `<name>`; of those with a trailing `*`, values may be anything. `empty`: what lists at
    these paths would hold.
    """

    def inside(item: Any, name: str = "") -> Any:
        return shape_of(item, maps, f"{at}.{name}".strip("."), empty)

    if isinstance(value, dict):
        if f"{at}*" in maps:
            return {"<name>": ANY}
        if at in maps:
            return {"<name>": merged([inside(item, "<name>") for item in value.values()])}
        return {key: inside(item, key) for key, item in value.items()}
    if isinstance(value, list) and (not at or f"{at}*" not in maps):
        return [merged([inside(item) for item in value])] if value else [empty[at]] if at in empty else []
    if f"{at}*" in maps:
        return ANY
    return _TYPES[type(value)]


def merged(shapes: list[Any]) -> Any:
    """What all of `shapes` are like. A key that some lack ends in `?`; several types stand side by side."""
    if not shapes:
        return ANY
    first, *rest = shapes
    for other in rest:
        first = _two(first, other)
    return first


def _two(left: Any, right: Any) -> Any:
    if left == right:
        return left
    if isinstance(left, dict) and isinstance(right, dict) and ["or"] not in (list(left), list(right)):
        names = [*left, *(name for name in right if name not in left and f"{name}?" not in left)]
        names = [name for name in names if not (name.endswith("?") and name[:-1] in names)]
        found = {}
        for name in names:
            plain = name.removesuffix("?")
            held = [side[key] for side in (left, right) for key in (plain, f"{plain}?") if key in side]
            always = plain in left and plain in right
            found[plain if always else f"{plain}?"] = merged(held)
        return found
    if isinstance(left, list) and isinstance(right, list):
        return [merged([*left, *right])]
    parts = [*_choices(left), *_choices(right)]
    words = {part for part in parts if isinstance(part, str)}
    if ANY in words:
        return ANY
    trees = [merged(same) for kind in (dict, list) if (same := [part for part in parts if isinstance(part, kind)])]
    return {"or": [*trees, *sorted(words)]} if trees else " | ".join(sorted(words))


def _choices(side: Any) -> list[Any]:
    if isinstance(side, str):
        return side.split(" | ")
    return list(side["or"]) if isinstance(side, dict) and list(side) == ["or"] else [side]


def shape_text(shape: Any, indent: int = 0) -> str:
    """As JSON, short parts on one line."""
    flat = json.dumps(shape, ensure_ascii=False)
    if len(flat) + indent <= 100 or not shape or not isinstance(shape, (dict, list)):
        return flat
    pad = "  " * (indent // 2 + 1)
    if isinstance(shape, list):
        lines = [pad + shape_text(item, indent + 2) for item in shape]
        return "[\n" + ",\n".join(lines) + "\n" + pad[:-2] + "]"
    items = ((json.dumps(key, ensure_ascii=False), shape_text(item, indent + 2)) for key, item in shape.items())
    lines = [f"{pad}{key}: {item}" for key, item in items]
    return "{\n" + ",\n".join(lines) + "\n" + pad[:-2] + "}"


def documented() -> dict[str, str]:
    """The shapes on the page, by what they are of."""
    found = re.findall(r"<!-- shape: (.*?) -->\n```json\n(.*?)\n```\n", PAGE.read_text(), flags=re.DOTALL)
    assert len(dict(found)) == len(found), "two shapes of one name"
    return dict(found)
