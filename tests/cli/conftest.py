"""The command, run in this process: fast, and still through its real entry point."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tracker.cli.main import main


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    def records(self) -> list[dict[str, Any]]:
        """Of `--format jsonl`."""
        return [json.loads(line) for line in self.out.splitlines()]


Tracker = Callable[..., Done]


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tracker:
    """`tracker("query", url, ...)` runs the command and returns exit code, stdout and stderr."""

    monkeypatch.setattr("tracker.cli.main._leave_out_pandas", lambda: None)  # other tests of this process need it

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["tracker", *arguments])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run
