"""A table for people: aligned columns, short numbers, no borders, so that a pipe can cut it too."""

from __future__ import annotations

import io
import json
import math
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tracker.cli.formats import plain
from tracker.cli.talk import say

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["cell_text", "text_table"]

_CELL_CHARS_MAX: Final = 60
_PIPE_WIDTH: Final = 1_000_000  # nothing is cut for a program that reads


def text_table(table: pa.Table) -> str:
    """Header and rows. On a terminal, columns that do not fit are left out from the right, and stderr says which."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=io.StringIO(), force_terminal=terminal, width=None if terminal else _PIPE_WIDTH)
    width = Console().width if terminal else _PIPE_WIDTH
    console.width = width
    cells = {name: [cell_text(value) for value in table[name].to_pylist()] for name in table.column_names}
    shown = _fitting(cells, width)
    if len(shown) < len(cells):
        left_out = [name for name in cells if name not in shown]
        say(f"{len(left_out)} columns do not fit: {_listed(left_out)}. Choose with --keys, or use --format csv.")
    view = Table(box=SIMPLE_HEAD if terminal else None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name in shown:
        right = table.schema.field(name).type in _number_types()
        view.add_column(Text(_printable(name)), justify="right" if right else "left", no_wrap=True)
    for row in range(table.num_rows):
        view.add_row(*(Text(cells[name][row]) for name in shown))
    console.print(view)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in lines)


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
    text = _printable(text)
    return text if len(text) <= _CELL_CHARS_MAX else text[: _CELL_CHARS_MAX - 1] + "…"


def _printable(text: str) -> str:
    """No control characters: a run's name must not move the cursor or colour the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _fitting(cells: dict[str, list[str]], width: int) -> list[str]:
    from rich.cells import cell_len

    used, shown = 0, []
    for name, texts in cells.items():
        used += max(map(cell_len, [_printable(name), *texts])) + 3
        if shown and used > width:
            break
        shown.append(name)
    return shown


def _listed(names: list[str]) -> str:
    head = ", ".join(names[:5])
    return head if len(names) <= 5 else f"{head} and {len(names) - 5} more"


def _number_types() -> list[pa.DataType]:
    import pyarrow as pa

    return [pa.float64(), pa.float32(), pa.int64(), pa.int32(), pa.int16(), pa.int8(), pa.uint64(), pa.uint32()]
