"""Facts that config and summary writes become."""

from __future__ import annotations

from typing import Any

from tracker.sdk.values import key_text
from tracker.storage.errors import UsageError
from tracker.storage.events import DELETED, flatten, join_path

__all__ = ["FactRow", "leaves_of", "path_of", "replace_facts", "text_keys"]

# kind, subject (None: the run), path, value: what RunWriter.write_facts takes
FactRow = tuple[str, str | None, str, Any]


def path_of(segments: tuple[str, ...], what: str) -> str:
    """The stored path.

    Raises:
        UsageError: a segment is empty, which would stand for no path at all.
    """
    if not all(segments):
        raise UsageError(f"A {what} key must not be empty: {'.'.join(segments)!r}. Give it a name.")
    return join_path([segment.encode("utf-8", "backslashreplace").decode() for segment in segments])


def leaves_of(path: str, value: Any) -> list[tuple[str, Any]]:
    """(path, leaf) of a value at `path`: several for a dict, else one."""
    if isinstance(value, dict) and value and "_type" not in value:
        return [(f"{path}.{below}", leaf) for below, leaf in flatten(text_keys(value, path))]
    return [(path, value)]


def replace_facts(kind: str, path: str, leaves: list[tuple[str, Any]]) -> list[FactRow]:
    """`path` is these leaves and nothing else, from one frame on. No leaves: it is gone."""
    facts: list[FactRow] = [(kind, None, below, leaf) for below, leaf in leaves]
    if [below for below, _ in leaves] != [path]:
        facts.insert(0, (kind, None, path, DELETED))
    return facts


def text_keys(value: Any, where: str) -> Any:
    """The same tree with keys as JSON text; keys without such a text become `str(key)`."""
    if isinstance(value, dict):
        return {_text(key, where): text_keys(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [text_keys(item, where) for item in value]
    return value


def _text(key: Any, where: str) -> str:
    try:
        text = key_text(key, where)
    except TypeError:
        text = str(key)
    return text.encode("utf-8", "backslashreplace").decode()
