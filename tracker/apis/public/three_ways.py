"""What was changed here, and what others changed meanwhile, put together: pure functions on nested values.

Three states of one thing: *settled*, what both sides began with (or what was just stored); *mine*, as it is here now;
and *theirs*, as the store has it now. What differs between settled and mine is kept, all else becomes theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["alike", "as_tags", "copy_tree", "merge_into", "merge_tags"]


def copy_tree(value: Any) -> Any:
    """Dicts and lists anew, what is in them the same. Others may change `value` meanwhile."""
    if isinstance(value, dict):
        return {key: copy_tree(item) for key, item in list(value.items())}
    if isinstance(value, list):
        return [copy_tree(item) for item in list(value)]
    return value


def merge_into(mine: dict[Any, Any], settled: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> None:
    """Bring `theirs` into `mine`, in place and in every dict inside of it, but for what was changed since `settled`."""
    for key, here in list(mine.items()):
        before = settled.get(key)
        if isinstance(here, dict) and isinstance(before, dict) and isinstance(theirs.get(key, {}), dict):
            merge_into(here, before, theirs.get(key, {}))
            if key not in theirs and not here:
                mine.pop(key, None)
        elif key in settled and alike(here, before):
            if key in theirs:
                mine[key] = copy_tree(theirs[key])
            else:
                mine.pop(key, None)
        elif isinstance(here, dict) and isinstance(theirs.get(key), dict) and key not in settled:
            merge_into(here, {}, theirs[key])
    for key, value in theirs.items():
        if key not in mine and key not in settled:
            mine[key] = copy_tree(value)


def merge_tags(settled: Sequence[str], mine: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """`theirs` with what was added to `settled` in `mine`, and without what was taken out of it. Each tag once."""
    if list(theirs) == list(settled):
        return list(dict.fromkeys(mine))
    removed = set(settled) - set(mine)
    added = [tag for tag in mine if tag not in set(settled)]
    return list(dict.fromkeys([*(tag for tag in theirs if tag not in removed), *added]))


def as_tags(value: Any) -> list[str]:
    """What somebody set as tags: None is none, and a text is one."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def alike(value: Any, other: Any) -> bool:
    """Whether nobody changed the one to the other: same types all through (1 is not True); arrays only if the same."""
    if value is other:
        return True
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(alike(item, other[key]) for key, item in list(value.items()))
    if isinstance(value, list):
        return len(value) == len(other) and all(map(alike, value, other))
    try:
        return bool(value == other)
    except Exception:  # an array is neither equal nor not
        return False
