"""Attribute lookup in snake_case and camelCase alike (API-13), and what every public object shows in a notebook."""

from __future__ import annotations

import re
from typing import Any

from tracker.errors import Error

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
        """What the object shows in a notebook, in a frame of `height` pixels; `hidden` folds it behind its name.

        It needs nothing from elsewhere, and what the object holds stays text.
        """
        from tracker.sdk.html_page import framed

        return framed(self._page(), height, hidden, repr(self))

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Show it in a notebook; False outside of one."""
        from tracker.sdk.notebook import in_notebook, show_html

        return in_notebook() and show_html(self.to_html(height, hidden))

    def _page(self) -> str:
        """What `to_html` frames: which object this is, and where its data lies."""
        from tracker.sdk.html_page import head, page

        return page(head(repr(self), str(getattr(self, "url", None) or "")))

    def _repr_html_(self) -> str:
        """As `to_html`; where the store does not answer, what it said."""
        from tracker.sdk.html_page import framed, head, page

        try:
            return self.to_html()
        except Error as exc:
            return framed(page(head(type(self).__name__, str(exc))), 80, False, type(self).__name__)


def _snake(name: str) -> str:
    return _HUMP.sub(r"_\1", name).lower()


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def _has(owner: object, name: str) -> bool:
    return name in vars(owner) or hasattr(type(owner), name)
