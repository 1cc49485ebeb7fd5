"""Attribute lookup in snake_case and camelCase alike (API-13), and what every public object shows in a notebook."""

from __future__ import annotations

import html
import re
from typing import Any

__all__ = ["Attrs"]

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")


class Attrs:
    """An object whose fields can be asked for in either spelling."""

    url: Any

    def __getattr__(self, name: str) -> Any:
        """Only called for names that are not there as they are written."""
        other = _snake(name) if _snake(name) != name else _camel(name)
        if not name.startswith("_") and other != name and _has(self, other):
            return getattr(self, other)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def snake_to_camel(self, string: str) -> str:
        """`display_name` to `displayName`."""
        return _camel(string)

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """One block of HTML that names the object and where its data lies; `hidden` folds it behind a summary line."""
        text = html.escape(repr(self))
        place = html.escape(str(self.url))
        body = f'<div style="max-height:{int(height)}px;overflow:auto"><code>{text}</code> {place}</div>'
        return f"<details><summary>{text}</summary>{body}</details>" if hidden else body

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Show it in a notebook; False outside of one."""
        from tracker.sdk.notebook import in_notebook, show_html

        return in_notebook() and show_html(self.to_html(height, hidden))

    def _repr_html_(self) -> str:
        return self.to_html()


def _snake(name: str) -> str:
    return _HUMP.sub(r"_\1", name).lower()


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def _has(owner: object, name: str) -> bool:
    return name in vars(owner) or hasattr(type(owner), name)
