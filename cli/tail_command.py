"""`tracker runs tail`: a run as it goes on, line after line, until it ends."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tracker.cli.exit_codes import FAILED, OK, RUN_ENDED
from tracker.cli.formats import plain
from tracker.cli.output import ReaderGone
from tracker.cli.run_address import RunAddress, open_run, parse_address
from tracker.cli.talk import say, warn
from tracker.cli.text_table import cell_text, printable
from tracker.query.follow import RunFollower
from tracker.query.follow_run import FollowOptions, follow_run
from tracker.storage.errors import NotFound

__all__ = ["TailOptions", "tail_run"]

_WAIT_STEP_S: Final = 0.5
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What was asked on the command line. `wait_s`: for how long a run may still begin."""

    run: str
    url: str | None
    project: str | None
    entity: str | None
    follow: FollowOptions
    wait_s: float
    as_json: bool


def tail_run(options: TailOptions) -> None:
    """Print the last rows of the run and what comes. Exits as the run ended, see RUN_ENDED.

    Raises:
        NotFound: there is no such run, or it was deleted meanwhile.
        StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as the store and its parts.
        ReaderGone: nobody reads stdout any more.
    """
    address = parse_address(options.run, options.url, options.project, options.entity)
    _await_run(address, options.wait_s)
    watch = _Watch(address.run_id)
    show = _json_line if options.as_json else _text_line
    with open_run(address) as reader:
        records = follow_run(
            lambda: reader.read(lambda snapshot: snapshot),
            address.run_id,
            options.follow,
            sleep=_flushed_sleep,
            on_look=watch,
        )
        for stream, record in records:
            _write(show(stream, record))
    if options.as_json:
        _write(_json_line("state", {"state": watch.state}))
    _flush()
    say(f"run {address.run_id} {_ENDS.get(watch.state, 'ended as ' + watch.state)}")
    code = RUN_ENDED.get(watch.state, FAILED)
    if code != OK:
        raise SystemExit(code)


_ENDS: Final = {"finished": "has finished", "crashed": "has been silent for five minutes: it has crashed, it seems"}


class _Watch:
    """Says what becomes of the run, and remembers it."""

    def __init__(self, run_id: str) -> None:
        self.state = ""
        self._run_id = run_id
        self._generations: tuple[str, ...] | None = None

    def __call__(self, follower: RunFollower) -> None:
        state = follower.state
        if self._generations is None and not follower.ended:
            say(f"run {self._run_id} is {state.state}; Ctrl-C ends this command, not the run")
        elif self._generations is not None and state.generations != self._generations:
            _flush()
            warn(f"run {self._run_id} was started anew or rewound; what follows is its new life")
        self.state, self._generations = state.state, state.generations


def _await_run(address: RunAddress, wait_s: float) -> None:
    """Until the run is there, at most so long. Raises NotFound."""
    deadline = time.monotonic() + wait_s
    while wait_s > 0:
        with suppress(NotFound), open_run(address) as reader:
            reader.read(lambda snapshot: snapshot)
            return
        if time.monotonic() + _WAIT_STEP_S > deadline:
            return
        time.sleep(_WAIT_STEP_S)


def _flushed_sleep(seconds: float) -> None:
    _flush()
    time.sleep(seconds)


def _write(text: str) -> None:
    _guarded(lambda: sys.stdout.write(text + "\n"))


def _flush() -> None:
    _guarded(sys.stdout.flush)


def _guarded(do: Callable[[], object]) -> None:
    try:
        do()
    except BrokenPipeError as exc:
        raise ReaderGone from exc


def _json_line(stream: str, record: dict[str, Any]) -> str:
    return json.dumps({"stream": stream, "row": plain(record)}, ensure_ascii=False)


def _text_line(stream: str, record: dict[str, Any]) -> str:
    """What fits on the line of a terminal; all of it elsewhere."""
    match stream:
        case "console":
            label = f"[{record['label']}] " if record["label"] else ""
            text = printable(_COLOUR.sub("", f"{label}{record['text']}").expandtabs())
        case "system":
            at = cell_text(datetime.fromtimestamp(record["_timestamp"], UTC))
            text = f"{at}  {_values(record, 'system.')}"
        case _:
            step = record.get("_step")
            text = f"step {step}  {_values(record, '')}".rstrip() if step is not None else _values(record, "")
    if not sys.stdout.isatty():
        return text
    room = shutil.get_terminal_size().columns
    return text if len(text) <= room else text[: room - 1] + "…"


def _values(record: dict[str, Any], prefix: str) -> str:
    shown = ((name, value) for name, value in record.items() if not name.startswith("_") or name in ("_rank", "_host"))
    return "  ".join(f"{printable(name.removeprefix(prefix))} {cell_text(value)}" for name, value in shown)
