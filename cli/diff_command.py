"""`tracker diff`: what two runs do not have in common."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracker.apis.public.diff_sections import MetricsDiff, TreeDiff
from tracker.apis.public.run_diff import RunDiff, check_sections
from tracker.cli.columns import aligned, count_text
from tracker.cli.exit_codes import DIFFERENT, FAILED, USAGE, exit_code_of
from tracker.cli.formats import Answer, format_named, plain
from tracker.cli.output import ReaderGone, check_output, write_answer
from tracker.cli.reading import Reader
from tracker.cli.run_address import RunAddress, open_run, parse_address
from tracker.cli.talk import coloured, say, say_error, working
from tracker.cli.text_table import cell_text, printable
from tracker.query.cells import MISSING
from tracker.query.diff_values import Change
from tracker.query.snapshot import Snapshot

__all__ = ["DiffOptions", "print_diff"]

_CELL_CHARS_MAX: Final = 60
_BOLD, _RED, _GREEN, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
_COLOURS: Final = {"-": _RED, "+": _GREEN}
_MARKS: Final = {"removed": "-", "added": "+", "changed": "~"}
_METRIC_COLUMNS: Final = ("metric", "first step", "a", "b", "differing", "only a", "only b", "max difference")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    a: str
    b: str
    url: str | None
    project: str | None
    entity: str | None
    sections: list[str] | None
    keys: list[str] | None
    rtol: float
    atol: float
    ignore: Sequence[str]
    quiet: bool
    patch: bool
    as_json: bool
    rows: bool
    format_name: str | None
    output: Path | None


def print_diff(options: DiffOptions) -> None:
    """Print what differs. Exits with DIFFERENT where something does; never with it because something went wrong.

    Raises:
        UsageError, NotFound, StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as their causes.
    """
    with _failures_apart():
        form = format_named(options.format_name, options.output)
        check_output(form, options.output)
        addresses = [
            parse_address(text, options.url, options.project, options.entity) for text in (options.a, options.b)
        ]
        check_sections(options.sections)
        with ExitStack() as stack:
            a, b = (_side(stack.enter_context(open_run(address)), address) for address in addresses)
            diff = RunDiff.of(
                a,
                b,
                sections=options.sections,
                keys=options.keys,
                rtol=options.rtol,
                atol=options.atol,
                ignore=options.ignore,
            )
            if options.rows:
                write_answer(Answer(lambda: diff.metrics("arrow"), lambda: diff.metrics()), form, options.output)
                return
            with working("comparing"):
                equal = diff.equal
                shown = "" if options.quiet else _shown(diff, addresses, options)
        sys.stdout.buffer.write(shown.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    if not equal:
        raise SystemExit(DIFFERENT)
    if not (options.quiet or options.as_json):
        say(f"no differences in {', '.join(diff.sections)}")


@contextmanager
def _failures_apart() -> Iterator[None]:
    """What would end with the code that says that runs differ ends with another one."""
    try:
        yield
    except (ReaderGone, BrokenPipeError):
        raise
    except Exception as error:
        if exit_code_of(error) != FAILED or os.environ.get("TRACKER_DEBUG"):
            raise
        say_error(error)
        raise SystemExit(USAGE) from error


def _side(reader: Reader, address: RunAddress) -> tuple[Callable[[], Snapshot], str]:
    return (lambda: reader.read(lambda snapshot: snapshot)), address.run_id


def _shown(diff: RunDiff, addresses: Sequence[RunAddress], options: DiffOptions) -> str:
    if options.as_json:
        found = diff.to_dict() | ({"patch": diff.code.patch} if options.patch else {})
        return json.dumps(plain(found), indent=2, ensure_ascii=False) + "\n"
    lines = [] if diff.equal else list(_lines(diff, addresses, options.patch))
    if not coloured():
        return "".join(f"{line}\n" for _, line in lines)
    return "".join(f"{colour}{line}{_PLAIN if colour else ''}\n" for colour, line in lines)


def _lines(diff: RunDiff, addresses: Sequence[RunAddress], patch: bool) -> Iterator[tuple[str, str]]:
    """Lines for people, each with its colour."""
    for mark, side, address in zip(("---", "+++"), (diff.a, diff.b), addresses, strict=True):
        place = f"{address.url}#" if address.url else ""
        name = printable(str(side.record.attrs.get("name") or side.record.run_id))
        yield _BOLD, f"{mark} {place}{side.path}  ({name}, {side.record.state})"
    for section_name in diff.sections:
        section = getattr(diff, section_name)
        if not section:
            continue
        yield "", ""
        yield _BOLD, f"{section_name}: {count_text(len(section), 'difference')}"
        if isinstance(section, MetricsDiff):
            for line in _metric_lines(section):
                yield "", line
        else:
            yield from _change_lines(section)
    if patch and "code" in diff.sections and diff.code.patch:
        yield "", ""
        for line in diff.code.patch.splitlines():
            yield _COLOURS.get(line[:1], ""), printable(line.expandtabs())


def _change_lines(section: TreeDiff) -> Iterator[tuple[str, str]]:
    width = max(len(printable(one.path)) for one in section)
    for one in section:
        mark = _MARKS[one.kind]
        yield _COLOURS.get(mark, ""), f"  {mark} {printable(one.path):{width}}  {_values(one)}"


def _values(change: Change) -> str:
    sides = [_json(value) for value in (change.a, change.b) if value is not MISSING]
    short = [text if len(text) <= _CELL_CHARS_MAX else f"{text[: _CELL_CHARS_MAX - 1]}…" for text in sides]
    return " -> ".join(sides if len(sides) == 2 and short[0] == short[1] else short)


def _json(value: Any) -> str:
    return printable(json.dumps(plain(value), ensure_ascii=False))


def _metric_lines(section: MetricsDiff) -> list[str]:
    rows = [
        (
            one.key,
            str(one.first_step),
            *(cell_text(None if side is MISSING else side) for side in (one.first_a, one.first_b)),
            *(str(count) for count in (one.differing, one.a_only, one.b_only)),
            cell_text(one.max_difference),
        )
        for one in section
    ]
    table = aligned(_METRIC_COLUMNS, rows, right=_METRIC_COLUMNS[1:])
    return [f"  {line}" for line in table.splitlines()]
