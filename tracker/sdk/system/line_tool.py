"""A tool that runs beside the training and prints one JSON document a line; only its newest line counts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from typing import Any, Final

__all__ = ["LineTool"]

_END_WAIT_S: Final = 1.0


class LineTool:
    """Runs until `close`; a thread of its own waits for its lines and parses none but those asked for."""

    def __init__(self, command: list[str]) -> None:
        """Raises OSError: it can not be started."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True
        )
        self._line = b""
        self.first = threading.Event()  # something was printed, or the tool ended
        threading.Thread(target=self._follow, name="tracker-tool", daemon=True).start()

    def newest(self) -> Any:
        """The last whole document, None before the first.

        Raises:
            ValueError: the line is no JSON.
            OSError: the tool ended.
        """
        if self._process.poll() is not None and self.first.is_set():
            raise OSError(f"{self._process.args!r} ended with code {self._process.returncode}")
        return json.loads(self._line) if self._line else None

    def close(self) -> None:
        """End the tool."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WAIT_S)

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.strip():
                    self._line = line
                    self.first.set()
        self.first.set()
