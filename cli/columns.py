"""Short tables of text for people: aligned, numbers at the right; and sizes in words."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned", "count_text", "size_text"]

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_GAP = "  "


def size_text(size_bytes: int) -> str:
    """`0 bytes`, `1.5 MiB`: three digits and the unit."""
    size, unit = float(size_bytes), 0
    while abs(size) >= 1000 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size_bytes} bytes" if unit == 0 else f"{size:.3g} {_UNITS[unit]}"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """`1 object`, `1,204 objects`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Lines of equally wide columns; those in `right` end at their right edge."""
    from rich.cells import cell_len

    from tracker.cli.text_table import printable

    texts = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(row[at]) for row in texts) for at in range(len(header))]
    lines = []
    for row in texts:
        cells = []
        for name, width, cell in zip(header, widths, row, strict=True):
            space = " " * (width - cell_len(cell))
            cells.append(space + cell if name in right else cell + space)
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)
