"""Names of fields, as people write them in filters and orders, to where the values stand."""

from __future__ import annotations

import re
from typing import Final

from tracker.query.errors import FilterError, suggestion
from tracker.query.filter_tree import Field
from tracker.storage.events import join_path, split_path

__all__ = ["FIELD_NAMES", "bind_field"]

_RUN_FIELDS: Final[dict[str, Field]] = {
    "name": Field("run", "text", ("run",)),
    "id": Field("run", "text", ("run",)),
    "state": Field("run", "state", ("state",)),
    "created_at": Field("run", "time", ("created_at",)),
    "heartbeat_at": Field("run", "time", ("heartbeat_at",)),
    "updated_at": Field("run", "time", ("heartbeat_at",)),
    "duration": Field("run", "number", ("duration",)),
    "entity": Field("run", "text", ("entity",)),
    "project": Field("run", "text", ("project",)),
    "display_name": Field("attr", "cell", ("name",)),
    "group": Field("attr", "cell", ("group",)),
    "job_type": Field("attr", "cell", ("job_type",)),
    "host": Field("attr", "cell", ("host",)),
    "username": Field("attr", "cell", ("username",)),
    "user": Field("attr", "cell", ("username",)),
    "sweep": Field("attr", "cell", ("sweep",)),
    "tags": Field("attr", "tags", ("tags",)),
    "description": Field("attr", "cell", ("notes",)),
    "notes": Field("attr", "cell", ("notes",)),
    "commit": Field("attr", "cell", ("commit",)),
}
_PATHS: Final = ("config", "summary_metrics", "summary")
FIELD_NAMES: Final = (*_RUN_FIELDS, *(f"{name}.<path>" for name in _PATHS))

_NAME_BYTES_MAX: Final = 4096
_READ_SEGMENTS_MAX: Final = 5  # beyond it only the literal key and the fully nested path are looked for
_HUMP: Final = re.compile(r"(?<=[a-z])([A-Z])")


def bind_field(name: str, *, where: str = "") -> Field:
    """The field that `name` means. camelCase and snake_case are the same field.

    `config.x.value` is `config.x`. A dotted path means the literal key first, then the nested path (at each
    level the longest literal name first); `\\.` is a dot that never separates.

    Raises:
        FilterError: no such field; `where` says where it stood.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise FilterError(f"The field {name!r:.60} is not valid Unicode (half a surrogate pair).") from None
    if size > _NAME_BYTES_MAX:
        raise FilterError(f'The field "{name[:60]}..." is longer than {_NAME_BYTES_MAX} bytes; no stored key is.')
    head, dot, path = name.partition(".")
    head = _HUMP.sub(r"_\1", head).lower() if head[:1].islower() else head
    if not dot and head in _RUN_FIELDS:
        return _RUN_FIELDS[head]
    if head in _PATHS and path:
        if head == "config":
            return Field("config", "cell", _stored_keys(path, wrapped=True))
        return Field("summary", "cell", _stored_keys(path, wrapped=False))
    raise FilterError(_unknown(name, head, bool(dot), where))


def _unknown(name: str, head: str, dotted: bool, where: str) -> str:
    at = f" at {where}" if where else ""
    if head in _PATHS:
        return f'Field "{name}"{at} needs a path: {head}.<key>.'
    hint = suggestion(head, _RUN_FIELDS if not dotted else _PATHS)
    if not hint and not dotted and name:
        hint = f' Did you mean "config.{name}" or "summary_metrics.{name}"?'
    return f'Unknown field "{name}"{at}.{hint} Known: {", ".join(FIELD_NAMES)}.'


def _stored_keys(path: str, *, wrapped: bool) -> tuple[str, ...]:
    """Keys that `path` may mean, best first. `wrapped`: the segment `value` after the first key is the wrapper."""
    keys = {join_path((path,)): None}
    for names in _readings(path):
        unwrapped = (names[0], *names[2:]) if wrapped and names[1:2] == ("value",) else names
        keys[join_path(unwrapped)] = None
    return tuple(keys)


def _readings(path: str) -> list[tuple[str, ...]]:
    """Ways to read the dots of `path`: at each level the longest name first."""
    segments = split_path(path)
    if "\\." in path or len(segments) > _READ_SEGMENTS_MAX:
        return [segments]
    return _split_names(segments)


def _split_names(segments: tuple[str, ...]) -> list[tuple[str, ...]]:
    readings: list[tuple[str, ...]] = []
    for length in range(len(segments), 0, -1):
        name, rest = ".".join(segments[:length]), segments[length:]
        readings += [(name, *below) for below in _split_names(rest)] if rest else [(name,)]
    return readings
