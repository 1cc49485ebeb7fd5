"""Stamps of events as one number in SQL: generation, hlc, writer, seq, the weightiest first."""

from __future__ import annotations

from typing import Final

__all__ = ["HLC", "SEQ", "WRITER", "stamp_sql", "unstamped_sql"]

SEQ: Final = 2**34  # room for seq; above it the number of the writer,
WRITER: Final = 2**50  # above that the hlc,
HLC: Final = 2**113  # and the generation on top


def stamp_sql(hlc: str, seq: str, *, shared: bool) -> str:
    """The stamp of an event of writer `w` (of writer_states)."""
    if not shared:
        return f"({hlc}::HUGEINT * {SEQ} + {seq})"
    return f"(w.gen_no::HUGEINT * {HLC} + {hlc}::HUGEINT * {WRITER} + w.writer_no::HUGEINT * {SEQ} + {seq})"


def unstamped_sql(stamp: str, *, shared: bool) -> str:
    """A struct of generation g, hlc h, writer w and seq s."""
    if not shared:
        return f"{{'g': 0, 'h': ({stamp} // {SEQ})::BIGINT, 'w': 0, 's': ({stamp} % {SEQ})::BIGINT}}"
    return (
        f"{{'g': ({stamp} // {HLC})::BIGINT, 'h': ({stamp} % {HLC} // {WRITER})::BIGINT, "
        f"'w': ({stamp} % {WRITER} // {SEQ})::BIGINT, 's': ({stamp} % {SEQ})::BIGINT}}"
    )
