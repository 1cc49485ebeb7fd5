"""A piece of SQL and the values bound in it. The text is ours, never the caller's; values are bound, never pasted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["FALSE", "TRUE", "Sql", "all_sql", "any_sql", "is_in_sql", "join_sql", "sql"]

_LISTED_MAX: Final = 8  # more values than this travel as one list


@dataclass(frozen=True, slots=True)
class Sql:
    """`text` has as many `?` as `params` has values."""

    text: str
    params: tuple[object, ...] = ()


TRUE: Final = Sql("TRUE")
FALSE: Final = Sql("FALSE")


def sql(template: str, *pieces: object) -> Sql:
    """`template` with each `{}` filled by the next piece when that is Sql, and each `?` bound to it otherwise."""
    text: list[str] = []
    params: list[object] = []
    rest = list(pieces)
    for char in template.replace("{}", "\0"):
        if char == "\0":
            piece = rest.pop(0)
            if not isinstance(piece, Sql):
                raise TypeError(f"Only SQL of ours may become SQL, not {piece!r:.60}")
            text.append(piece.text)
            params += piece.params
            continue
        if char == "?":
            params.append(rest.pop(0))
        text.append(char)
    if rest:
        raise TypeError(f"A value without a place: {rest[0]!r:.60}")
    return Sql("".join(text), tuple(params))


def join_sql(separator: str, parts: Iterable[Sql]) -> Sql:
    parts = list(parts)
    return Sql(separator.join(part.text for part in parts), tuple(value for part in parts for value in part.params))


def all_sql(parts: Iterable[Sql]) -> Sql:
    """TRUE where every part is; without parts TRUE."""
    return _chain(list(parts), " AND ", TRUE)


def any_sql(parts: Iterable[Sql]) -> Sql:
    """TRUE where some part is; without parts FALSE."""
    return _chain(list(parts), " OR ", FALSE)


def is_in_sql(column: str, values: Sequence[object], kind: str) -> Sql:
    """`column` is one of `values`, which have the DuckDB type `kind`."""
    if len(values) == 1:
        return Sql(f"{column} = ?", (values[0],))
    if len(values) <= _LISTED_MAX:
        return Sql(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))
    return Sql(f"{column} IN (SELECT unnest(?::{kind}[]))", (list(values),))


def _chain(parts: list[Sql], infix: str, empty: Sql) -> Sql:
    if not parts:
        return empty
    if len(parts) == 1:
        return parts[0]
    joined = join_sql(infix, parts)
    return Sql(f"({joined.text})", joined.params)
