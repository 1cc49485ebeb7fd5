"""Console capture: what the process prints is shown as ever, and kept with the run, line by line (CON-1).

Whoever prints pays for one more call that puts the text into a queue. A thread makes lines of it once a second,
writes them as points of kind `console`, and adds them to `output.log`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from tracker.sdk.console_blocks import BLOCK_CHARS_MAX, OPEN, Piece, blocks_of, console_key, joined
from tracker.sdk.console_file import ConsoleFile
from tracker.sdk.console_lines import LineFold, Lines, printable
from tracker.sdk.console_wrap import STREAMS, StreamTap, tap_streams

__all__ = ["ConsoleCapture", "ConsoleSource"]

_PAUSE_S: Final = 1.0  # between two looks at what was printed
_LOOK_S: Final = 0.1  # whether it is too much to wait for that long
_SOON_CHARS: Final = 4 << 20  # this much is taken at once
_WAITING_CHARS_MAX: Final = 64 << 20  # beyond it text is counted, not kept
_BLOCKS_MAX: Final = 100  # in one look; streams that take turns more often are kept each for itself
_OPEN_FIRST_S: Final = 5.0  # an unfinished line that changes is kept as it is after this, twice that, ...
_OPEN_MOST_S: Final = 60.0
_END_S: Final = 5.0


class ConsoleSource(Protocol):
    """Where text comes from besides the taps: descriptors, in `redirect` mode."""

    unheard: tuple[str, ...]  # streams that do not write to these descriptors

    def read(self) -> list[tuple[str, str]]:
        """(stream, text) since the last call."""

    def stop(self) -> list[tuple[str, str]]:
        """Give back what was taken, and return the last text."""

    def after_fork(self) -> None:
        """In a child."""


class ConsoleCapture:
    """What one run hears. `write` takes cells and their time (microseconds), and may be called until `stop` returns."""

    def __init__(
        self,
        write: Callable[[dict[str, str], int], object],
        *,
        lines: Callable[[], Lines] = LineFold,
        label: str | None = None,
        file: ConsoleFile | None = None,
        source: Callable[[], ConsoleSource | None] = lambda: None,
    ) -> None:
        self._write, self._label, self._file, self._make_source = write, label, file, source
        self._lines = {name: lines() for name in STREAMS}
        self._queue: SimpleQueue[Piece] = SimpleQueue()  # putting is safe in signal handlers too
        self._bell: SimpleQueue[None] = SimpleQueue()  # there is something to look at
        self._rung = False
        self._waiting = 0  # characters, about: threads may lose each other's additions until the next look
        self._lost = 0
        self._stopped = False
        self._nap = threading.Lock()
        self._work = threading.Lock()
        self._open_said = dict.fromkeys(STREAMS, "")
        self._open_wait_s = _OPEN_FIRST_S
        self._open_next_s = 0.0
        self._source: ConsoleSource | None = None
        self._taps: list[StreamTap] = []
        self._thread = threading.Thread(target=self._run, name="tracker-console", daemon=True)

    def start(self) -> None:
        self._nap.acquire()
        self._source = self._make_source()
        names = STREAMS if self._source is None else self._source.unheard
        self._taps = tap_streams(self._heard, names)
        self._thread.start()

    def stop(self, exit_code: int) -> None:
        """Everything printed before is kept; the streams are as they were."""
        _ = exit_code
        if self._stopped:
            return
        self._stopped = True
        for tap in self._taps:
            tap.remove()
        last = self._source.stop() if self._source is not None else []
        for piece in last:
            self._queue.put(piece)
        self._bell.put(None)
        self._nap.release()
        self._thread.join(_END_S)
        if self._work.acquire(timeout=_END_S):
            try:
                self._keep(self._drained(), None)
                self._end_lines()
            finally:
                self._work.release()
        if self._file is not None:
            self._file.close()

    def listen(self) -> None:
        """Tap streams again that lost our tap: IPython puts back, after a cell, the `write` of before the cell."""
        for tap in [tap for tap in self._taps if not self._stopped and not tap.is_heard()]:
            tap.remove()
            self._taps.remove(tap)
            self._taps += tap_streams(self._heard, (tap.name,))

    def hurry(self) -> None:
        """Keep what was printed so far, at once."""
        if self._work.acquire(timeout=_END_S):
            try:
                if self._source is not None:
                    self._keep(self._source.read(), None)
                self._keep(self._drained(), None)
                self._say_open(time.time_ns() // 1000)
            finally:
                self._work.release()

    def after_fork(self) -> None:
        self._stopped = True
        for tap in self._taps:
            tap.remove()
        if self._source is not None:
            self._source.after_fork()
        if self._file is not None:
            self._file.forget()

    def _heard(self, piece: Piece) -> None:
        size = len(piece[1])
        if self._waiting > _WAITING_CHARS_MAX:
            self._lost += size
            return
        self._waiting += size
        self._queue.put(piece)
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def _run(self) -> None:
        while not self._stopped:
            rung = self._wait()
            began_us = time.time_ns() // 1000
            if rung:
                self._pause()  # not for long once the run ends
            with self._work:
                self._look(began_us)

    def _look(self, began_us: int) -> None:
        """One look at what was printed since `began_us`. The caller holds `_work`."""
        if self._stopped:  # whoever stops us does the rest
            return
        read = self._source.read() if self._source is not None else []
        self._keep(read + self._drained(), began_us)
        self._keep_open()

    def _wait(self) -> bool:
        """Until something was printed. False: nothing was, but something else is to be looked after."""
        if self._source is not None:
            wait_s: float | None = _PAUSE_S
        else:
            wait_s = self._open_wait_s if self._has_open() else None
        try:
            self._bell.get(timeout=wait_s)
        except Empty:
            return False
        return True

    def _pause(self) -> None:
        """Until it is time to look, a good deal is waiting, or the run ends."""
        until = time.monotonic() + _PAUSE_S
        while (left_s := until - time.monotonic()) > 0 and self._waiting < _SOON_CHARS:
            if self._nap.acquire(timeout=min(left_s, _LOOK_S)):
                self._nap.release()
                return

    def _drained(self) -> list[Piece]:
        """What waits, at most as much as waited when this was called. The caller holds `_work`."""
        self._rung = False
        self._waiting = 0
        pieces = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        if self._lost:
            lost, self._lost = self._lost, 0
            pieces.append(("stderr", f"\n[{lost:,} characters were printed too fast to be kept]\n"))
        return pieces

    def _keep(self, pieces: list[Piece], time_us: int | None) -> None:
        """Text into lines, lines into points and the file."""
        time_us = time.time_ns() // 1000 if time_us is None else time_us
        blocks: list[tuple[str, list[str]]] = []
        for name, text in joined(pieces):
            lines = self._lines[name]
            lines.feed(text)
            found = lines.take(time.monotonic())
            if found and blocks and blocks[-1][0] == name:
                blocks[-1][1].extend(found)
            elif found:
                blocks.append((name, found))
            if not self._stopped:
                time.sleep(0)  # the training goes first
        if len(blocks) > _BLOCKS_MAX:
            blocks = [(name, [line for one, found in blocks if one == name for line in found]) for name in STREAMS]
        for name, found in blocks:
            self._put(name, found, time_us)

    def _put(self, name: str, lines: list[str], time_us: int) -> None:
        self._open_said[name] = ""
        for text in blocks_of(lines):
            text = printable(text)
            self._write({console_key(name, self._label): text}, time_us)
            if self._file is not None:
                self._file.add(text)

    def _has_open(self) -> bool:
        return any(lines.open_text() != self._open_said[name] for name, lines in self._lines.items())

    def _keep_open(self) -> None:
        """Unfinished lines, now and then: a progress bar shows elsewhere before it is full."""
        now_s = time.monotonic()
        if not self._has_open():
            self._open_wait_s, self._open_next_s = _OPEN_FIRST_S, now_s + _OPEN_FIRST_S
        elif now_s >= self._open_next_s:
            if self._open_next_s:
                self._say_open(time.time_ns() // 1000)
                self._open_wait_s = min(self._open_wait_s * 2, _OPEN_MOST_S)
            self._open_next_s = now_s + self._open_wait_s

    def _say_open(self, time_us: int) -> None:
        for name, lines in self._lines.items():
            text = lines.open_text()
            if text.strip() and text != self._open_said[name]:
                self._open_said[name] = text
                cells = {console_key(name + OPEN, self._label): printable(text[-BLOCK_CHARS_MAX:])}
                self._write(cells, time_us)

    def _end_lines(self) -> None:
        now_us = time.time_ns() // 1000
        for name, lines in self._lines.items():
            found = lines.end()
            if found:
                self._put(name, found, now_us)
