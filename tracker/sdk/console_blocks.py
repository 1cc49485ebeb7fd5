"""From what was printed to what is stored: runs of text per stream, lines joined to blocks, and their keys."""

from __future__ import annotations

from typing import Final

from tracker.storage.events import join_path

__all__ = ["BLOCK_CHARS_MAX", "OPEN", "SLICE_CHARS", "Piece", "blocks_of", "console_key", "joined"]

BLOCK_CHARS_MAX: Final = 64 * 1024  # lines of one point
SLICE_CHARS: Final = 128 << 10  # worked on without giving way to other threads
OPEN: Final = "_open"  # ends the name of a stream whose last line is not finished

Piece = tuple[str, str]  # stream, text


def console_key(stream: str, label: str | None) -> str:
    """The key of a console point: the stream, and behind it the label of the writer, if it has one (SET-6)."""
    return join_path([stream] if label is None else [stream, label])


def joined(pieces: list[Piece]) -> list[Piece]:
    """The same text with what one stream got in a row as one, in slices that do not keep others waiting."""
    found: list[Piece] = []
    texts: list[str] = []
    size = 0
    for n, (name, text) in enumerate(pieces):
        texts.append(text)
        size += len(text)
        if size >= SLICE_CHARS or n + 1 == len(pieces) or pieces[n + 1][0] != name:
            whole = "".join(texts)
            found += [(name, whole[at : at + SLICE_CHARS]) for at in range(0, len(whole), SLICE_CHARS)]
            texts, size = [], 0
    return found


def blocks_of(lines: list[str]) -> list[str]:
    """Lines joined by newlines, at most `BLOCK_CHARS_MAX` characters each; no line is that long alone."""
    text = "\n".join(lines)
    if len(text) <= BLOCK_CHARS_MAX:
        return [text]
    blocks: list[str] = []
    held: list[str] = []
    size = 0
    for line in lines:
        if held and size + len(line) > BLOCK_CHARS_MAX:
            blocks.append("\n".join(held))
            held, size = [], 0
        held.append(line)
        size += len(line) + 1
    return [*blocks, "\n".join(held)]
