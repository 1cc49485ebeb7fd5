"""A table for people: aligned columns, short numbers, no borders, so that a pipe can cut it too."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tracker.cli.formats import plain, table_records
from tracker.cli.talk import say

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["cell_text", "printable", "text_table"]

_CELL_CHARS_MAX: Final = 60
_GAP: Final = "  "
_BOLD: Final = "\x1b[1m{}\x1b[0m"


def text_table(table: pa.Table) -> Iterator[str]:
    """Lines: the header, then the rows. Numbers stand at the right of their column.

    On a terminal, columns that do not fit are left out from the right, and stderr says which. Elsewhere
    nothing is left out.
    """
    from rich.cells import cell_len

    terminal = sys.stdout.isatty()
    rows = table_records(table)
    texts = {printable(name): [cell_text(row[name]) for row in rows] for name in table.column_names}
    widths = {name: max(map(cell_len, [name, *column])) for name, column in texts.items()}
    shown = _fitting(widths, shutil.get_terminal_size().columns) if terminal else list(texts)
    if len(shown) < len(texts):
        left_out = [name for name in texts if name not in shown]
        say(f"{len(left_out)} columns do not fit: {_listed(left_out)}. Choose with --keys, or use --format csv.")
    numbers = {printable(field.name) for field in table.schema if _is_number(field.type)}

    def line(cells: list[str]) -> str:
        padded = []
        for name, text in zip(shown, cells, strict=True):
            space = " " * (widths[name] - cell_len(text))
            padded.append(space + text if name in numbers else text + space)
        return _GAP.join(padded).rstrip()

    yield _BOLD.format(line(shown)) if terminal else line(shown)
    for cells in zip(*(texts[name] for name in shown), strict=True):
        yield line(list(cells))


def cell_text(value: Any) -> str:
    """One value in few characters: six significant digits, times to the second, JSON for lists and dicts."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if 1e6 <= abs(value) < 1e15:
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case float() if math.isfinite(value):
            return f"{value:.6g}"
        case datetime():
            shown = value if value.tzinfo is None else value.astimezone(UTC)
            return shown.strftime("%Y-%m-%d %H:%M:%S")
        case dict() | list() | tuple():
            text = json.dumps(plain(value), ensure_ascii=False)
        case _:
            text = str(plain(value))
    text = printable(text)
    return text if len(text) <= _CELL_CHARS_MAX else text[: _CELL_CHARS_MAX - 1] + "…"


def printable(text: str) -> str:
    """No control characters: a run's name must not move the cursor or colour the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _fitting(widths: dict[str, int], room: int) -> list[str]:
    """The first columns that fit side by side, but one at least."""
    used, shown = -len(_GAP), list[str]()
    for name, width in widths.items():
        used += len(_GAP) + width
        if shown and used > room:
            break
        shown.append(name)
    return shown


def _listed(names: list[str]) -> str:
    head = ", ".join(names[:5])
    return head if len(names) <= 5 else f"{head} and {len(names) - 5} more"


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))
