"""Scripts in processes of their own, and what a reader finds in the store afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from written import read_back

from tracker.storage.events import KIND_WRITER, POINT_KINDS, Fact, decode_cell
from tracker.storage.fold import RunState, WriterSpan, fold_run
from tracker.storage.stores import open_store


@dataclass(frozen=True)
class View:
    """One run as a reader sees it."""

    state: RunState
    rows: dict[str, list[tuple[int, dict[str, Any]]]]  # by visible writer: (step, cells) of committed rows
    own: dict[str, dict[str, Any]]  # by writer: what it says of itself

    @property
    def all_rows(self) -> list[tuple[int, dict[str, Any]]]:
        return sorted((row for rows in self.rows.values() for row in rows), key=repr)

    @property
    def only(self) -> dict[str, Any]:
        """What the one writer says of itself."""
        (own,) = self.own.values()
        return own


def view_run(root: Path, now_us: int | None = None) -> View:
    """The one run in this store."""
    facts: list[Fact] = []
    spans: dict[str, WriterSpan] = {}
    rows: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    own: dict[str, dict[str, Any]] = {}
    for writer, table in read_back(open_store(str(root))).items():
        events = table.to_pylist()
        spans[writer] = WriterSpan(writer, min(e["hlc"] for e in events), max(e["hlc"] + e["ts"] for e in events))
        cells: dict[int, dict[str, Any]] = {}
        steps: dict[int, int] = {}
        for event in events:
            value = decode_cell(event["t"], event["v"], event["i"], event["s"])
            if event["kind"] == "history":
                cells.setdefault(event["row"], {})[event["key"]] = value
            elif event["kind"] == "row":
                steps[event["row"]] = event["step"]
            elif event["kind"] not in POINT_KINDS:
                facts.append(
                    Fact(kind=event["kind"], subject="", path=event["key"], value=value, hlc_us=event["hlc"],
                         writer_id=writer, seq=event["seq"])
                )  # fmt: skip
        rows[writer] = [(step, cells.get(row, {})) for row, step in sorted(steps.items())]
        said = [f for f in facts if f.kind == KIND_WRITER and f.writer_id == writer]
        own[writer] = {f.path.removeprefix(f"{writer}."): f.value for f in sorted(said, key=lambda f: f.seq)}
    state = fold_run(facts, [], spans, time.time_ns() // 1000 if now_us is None else now_us)
    assert state is not None, "nothing was written"
    return View(state, {writer: found for writer, found in rows.items() if writer in state.visible}, own)


def run_script(
    code: str, cwd: Path, *, env: dict[str, str] | None = None, timeout_s: float = 60, wait: bool = True
) -> subprocess.Popen[str]:
    """Run `code` with the root `cwd/root`; `tracker` is imported already. Waits for its end unless told otherwise."""
    text = "import tracker\n" + textwrap.dedent(code)
    script = cwd / f"script_{zlib.crc32(text.encode()):08x}.py"
    if not script.exists():  # another process may be reading it just now
        script.write_text(text)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=cwd,
        env=os.environ | {"TRACKER_BASE_URL": str(cwd / "root"), "TRACKER_PROJECT": "p"} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        try:
            process.out, process.err = process.communicate(timeout=timeout_s)  # type: ignore[attr-defined]
        finally:
            process.kill()
    return process
