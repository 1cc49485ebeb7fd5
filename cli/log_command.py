"""`tracker log`: what happened to a run."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tracker.cli.formats import plain
from tracker.cli.run_address import open_run, parse_address
from tracker.cli.talk import coloured
from tracker.cli.text_table import printable
from tracker.query.event_kinds import check_kinds
from tracker.query.instants import moment_us
from tracker.query.readable_parts import StartOver
from tracker.query.run_events import RunEvent, run_events
from tracker.query.snapshot import Snapshot

__all__ = ["LogOptions", "print_log"]

_VALUE_CHARS_MAX: Final = 60
_CHANGES_MAX: Final = 8
_DETAILED: Final = frozenset({"fields", "config", "summary", "metadata"})  # whose values are shown
_COLOURS: Final = {"deleted": "\x1b[31m", "lost": "\x1b[31m", "silent": "\x1b[31m", "restored": "\x1b[32m"}
_PLAIN: Final = "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    run: str
    url: str | None
    project: str | None
    entity: str | None
    kinds: list[str] | None
    since: str | None
    until: str | None
    last: int | None
    full: bool
    as_json: bool
    as_lines: bool


def print_log(options: LogOptions) -> None:
    """Print the events of a run, deleted or not, oldest first.

    Raises:
        UsageError: an unknown kind, no time, no run path. NotFound: there is no such run.
        StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as the store and its parts.
    """
    kinds = check_kinds(options.kinds)
    since_us = None if options.since is None else moment_us(options.since, "--since")
    until_us = None if options.until is None else moment_us(options.until, "--until")
    address = parse_address(options.run, options.url, options.project, options.entity)

    def read(snapshot: Snapshot) -> list[RunEvent] | deque[RunEvent]:
        found = run_events(snapshot, address.run_id, kinds, since_us, until_us)
        return list(found) if options.last is None else deque(found, maxlen=options.last)

    with open_run(address) as reader:
        try:
            events = reader.read(read)
        except StartOver as exc:
            raise exc.error from exc
    if options.as_json:
        lines = [json.dumps([plain(event.to_dict()) for event in events], indent=2, ensure_ascii=False)]
    elif options.as_lines:
        lines = [json.dumps(plain(event.to_dict()), ensure_ascii=False) for event in events]
    else:
        lines = list(_lines(events, options.full))
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def _lines(events: Iterable[RunEvent], full: bool) -> Iterator[str]:
    """Lines for people: one an event, and below it what changed."""
    events = list(events)
    who = [_who(event) for event in events]
    width = max(map(len, who), default=0)
    kind_width = max((len(event.kind) for event in events), default=0)
    colours = _COLOURS if coloured() else {}
    for event, name in zip(events, who, strict=True):
        text = "" if event.kind in _DETAILED else f"  {printable(event.text)}"
        line = f"{_time(event.time_us)}  {name:{width}}  {event.kind:{kind_width}}{text}".rstrip()
        colour = colours.get(event.kind, "")
        yield f"{colour}{line}{_PLAIN}" if colour else line
        if full or event.kind in _DETAILED:
            yield from _changes(event, full)


def _changes(event: RunEvent, full: bool) -> Iterator[str]:
    shown = event.changes if full else event.changes[:_CHANGES_MAX]
    for change in shown:
        values = [_value(value) for value in (change.a, change.b)]
        path = printable(change.path)
        if change.kind == "removed":
            yield f"    - {path}  {values[0]}"
        elif change.kind == "added":
            yield f"    + {path}  {values[1]}"
        else:
            yield f"    ~ {path}  {values[0]} -> {values[1]}"
    if len(event.changes) > len(shown):
        yield f"    ... and {len(event.changes) - len(shown)} more (--full shows all)"


def _who(event: RunEvent) -> str:
    """`user@host`, as far as it is known; else the end of the writer's id."""
    known = "@".join(filter(None, (event.user, event.host)))
    return printable(known or (f"...{event.writer[-6:]}" if event.writer else "somebody"))


def _time(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}Z"


def _value(value: Any) -> str:
    text = printable(json.dumps(plain(value), ensure_ascii=False, default=str))
    return text if len(text) <= _VALUE_CHARS_MAX else f"{text[: _VALUE_CHARS_MAX - 1]}…"
