"""Where an answer goes: stdout, or a file that appears whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tracker.cli.formats import Answer, Format
from tracker.cli.talk import say
from tracker.storage.errors import UsageError

__all__ = ["ReaderGone", "check_output", "write_answer"]


class ReaderGone(Exception):
    """Whoever read our stdout has stopped reading, as `head` does."""


def check_output(form: Format, output: Path | None) -> None:
    """Refuse before any work what could not be written.

    Raises:
        UsageError: binary data to a terminal, or a folder that is not there.
    """
    if output is None:
        if form.binary and sys.stdout.isatty():
            example = f"--output answer{form.suffixes[0]}"
            raise UsageError(f"{form.name} is binary and would garble the terminal. Use {example}, or a pipe.")
        return
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(f"Cannot write {output}: it is a folder, or its folder is missing.")


def write_answer(answer: Answer, form: Format, output: Path | None) -> None:
    """Send the rows to stdout, or to `output` under a temporary name that is renamed at the end.

    Raises:
        UsageError: the file cannot be written.
        ReaderGone: nobody reads stdout any more.
    """
    try:
        if output is None:
            form.write(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            _write_file(answer, form, output)
    except BrokenPipeError as exc:
        raise ReaderGone from exc
    except NotImplementedError as exc:  # Arrow's, for a type that the format lacks
        raise UsageError(f"{form.name} cannot hold this answer: {exc}. Cast the column in the SQL.") from exc


def _write_file(answer: Answer, form: Format, output: Path) -> None:
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as sink:
            form.write(answer, sink)
        part.replace(output)
    except OSError as exc:
        raise UsageError(f"Cannot write {output}: {exc.strerror or exc}. Choose another --output.") from exc
    finally:
        part.unlink(missing_ok=True)
    say(f"wrote {output}")
