"""The shipper as a process: `python -m tracker.storage.ship DIR`, which outlives a killed trainer.

The trainer holds the log's lock, this process the shipping lock. Lines on standard input tell it to
flush or to finish; the end of standard input means that the trainer is gone. It answers with JSON
lines on standard output, and what it has shipped stands in `ship.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracker.storage.pump import Pump, WriterOptions
from tracker.storage.spool import Spool
from tracker.storage.wal import list_segments

__all__ = ["ShipProcess", "main"]

_POLL_S = 0.2
_ALONE_S = 600.0  # how long the process keeps trying after the trainer is gone; `tracker sync` ships the rest


class ShipProcess:
    """The trainer's side: starts the process and passes on what it says. Same face as `Pump`."""

    def __init__(
        self,
        spool: Spool,
        options: WriterOptions,
        notify: Callable[[str, str], None],
        *,
        heartbeat: Callable[[], None],
        on_stop: Callable[[str], None],
    ) -> None:
        self._on_stop = on_stop
        self._spool, self._options, self._notify, self._heartbeat = spool, options, notify, heartbeat
        self.next_seq = 0
        self.shipped_bytes = 0
        self.shipped_blobs = 0
        self.reason: str | None = None
        self.stop = False
        self.done = threading.Event()
        self._finishing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._relay, name="tracker-shipper-relay", daemon=True)

    def start(self) -> None:
        options = {name: getattr(self._options, name) for name in self._options.__dataclass_fields__}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tracker.storage.ship", str(self._spool.path), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C and SIGTERM to the trainer's group are not for it
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)  # a stuck process must not stop the training
        self._thread.start()

    def wake(self) -> None:
        self._tell(b"flush\n")

    def begin_finish(self) -> None:
        self._finishing = True
        self._spool.lock.release()
        self._tell(b"finish\n")

    def wait_shipped(self, seq: int, timeout_s: float | None) -> bool:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self.wake()
        while self.next_seq < seq:
            if (deadline is not None and time.monotonic() >= deadline) or self._gone():
                return self.next_seq >= seq
            time.sleep(0.01)
        return True

    def _gone(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _tell(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None or self.stop:
            return
        with contextlib.suppress(OSError, ValueError):
            os.write(self._process.stdin.fileno(), line)

    def _relay(self) -> None:
        """Pass on messages; beat where the process tells that nothing was shipped for long."""
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self.stop:
                return
            said: dict[str, Any] = json.loads(line)
            match said.get("say"):
                case "shipped":
                    self.next_seq, self.shipped_bytes, self.reason = said["next_seq"], said["bytes"], None
                    self.shipped_blobs = said["blobs"]
                case "quiet":
                    self._heartbeat()
                case "stop":
                    self._on_stop(said["by"])
                case "done":
                    self.next_seq = max(self.next_seq, said["next_seq"])
                    self.done.set()
                case level:
                    self.reason = None if level == "info" else said["text"]
                    self._notify(str(level), said["text"])
        code = self._process.wait()
        self._process.stdout.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if not self.done.is_set() and not self.stop:
            self.reason = f"the shipping process ended with code {code}"
            self._notify("error", f"{self.reason}; the data waits. Send it with: tracker sync {self._spool.path}")


def main(directory: str, options: str) -> int:
    """Ship the spool at `directory` until told to finish, or until the trainer is gone and everything is sent."""
    spool = Spool.load(Path(directory))
    if spool is None or not spool.ship_lock.try_acquire():
        _say("error", f"{directory} is no spool, or somebody else ships it.")
        return 1
    pump = Pump(
        spool,
        WriterOptions(**json.loads(options)),
        _say,
        log_bytes=lambda: _log_bytes(spool),
        heartbeat=lambda: _write({"say": "quiet"}),
        on_stop=lambda by: _write({"say": "stop", "by": by}),
        poll_s=_POLL_S,
        on_shipped=lambda: _write(
            {
                "say": "shipped",
                "next_seq": pump.next_seq,
                "bytes": pump.shipped_bytes,
                "blobs": pump.shipped_blobs,
            }
        ),
    )
    pump.start()
    if _listen(pump):
        pump.done.wait()
    else:  # the trainer is gone: nothing follows what it has acknowledged
        pump.writer_died = spool.lock.try_acquire()
        pump.begin_finish()
        pump.done.wait(_ALONE_S)
    _write({"say": "done", "next_seq": pump.next_seq})
    return 0 if pump.done.is_set() else 3


def _listen(pump: Pump) -> bool:
    """True: told to finish; False: standard input has ended."""
    for line in sys.stdin:
        match line.strip():
            case "finish":
                pump.begin_finish()
                return True
            case "flush":
                pump.wake()
    return False


_written = threading.Lock()


def _say(level: str, text: str) -> None:
    _write({"say": level, "text": text})


def _write(line: dict[str, Any]) -> None:
    with _written, contextlib.suppress(OSError, ValueError):  # nobody listens any more
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _log_bytes(spool: Spool) -> int:
    """Appended so far: the segments here; what was removed is shipped, and counts on neither side."""
    return sum(path.stat().st_size for _, path in list_segments(spool.path))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
