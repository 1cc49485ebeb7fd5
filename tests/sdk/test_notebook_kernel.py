"""A real kernel: NB-1, NB-2, RE-4. One kernel for all tests; it is shut down at the end of the last one."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

import tracker
from tracker.sdk.magics import NAMES
from tracker.sdk.notebook_session import HISTORY_NAME, cells_as_notebook


class Kernel:
    """Runs cells. `shown`: HTML, newest last; `printed`: text of both streams."""

    def __init__(self, folder: Path) -> None:
        env = {name: value for name, value in os.environ.items() if name not in ("TRACKER_CONSOLE", "PYTHONPATH")}
        env |= {"TRACKER_BASE_URL": str(folder / "root"), "TRACKER_COMPACT": "false", "TRACKER_X_DISABLE_META": "true"}
        env |= {"TRACKER_CONFIG_DIR": str(folder), "JPY_SESSION_NAME": "book.ipynb", "IPYTHONDIR": str(folder / "ipy")}
        env |= {"TRACKER_X_STATS_SAMPLING_INTERVAL": "0.1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        (folder / "book.ipynb").write_bytes(cells_as_notebook([(1, "x", None)]))
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder), env=env)
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.shown: list[str] = []
        self.printed = ""

    def run(self, code: str) -> dict[str, Any]:
        """The reply, once everything that the cell printed is here."""
        done: dict[str, Any] = self.client.execute_interactive(
            code, timeout=60, output_hook=self._hear, allow_stdin=False
        )
        return done["content"]

    def _hear(self, message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] in ("display_data", "update_display_data", "execute_result"):
            self.shown.append(content["data"].get("text/html", content["data"].get("text/plain", "")))
        elif message["msg_type"] == "stream":
            self.printed += content["text"]

    def value(self, expression: str) -> Any:
        """A JSON value of the kernel."""
        self.printed = ""
        self.run(f"import json; print(json.dumps({expression}))")
        return json.loads(self.printed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def kernel(folder: Path) -> Iterator[Kernel]:
    made = Kernel(folder)
    yield made
    made.client.stop_channels()
    if made.manager.has_kernel:
        made.manager.shutdown_kernel(now=True)


def of_run(folder: Path, run_id: str) -> tracker.apis.public.Run:
    return tracker.Api(overrides={"base_url": str(folder / "root")}).run(f"main/p/{run_id}")


def test_a_run_stays_open_between_cells_and_is_paused(kernel: Kernel, folder: Path) -> None:
    """NB-2: paused between cells, and what a cell logged can be seen soon after it."""
    kernel.run("%load_ext tracker\n%tracker")
    assert "no run is active" in kernel.printed
    kernel.run("import tracker\nrun = tracker.init(project='p', id='one', config={'lr': 0.1})")
    assert "one" in kernel.shown[0]
    kernel.run("for n in range(5): run.log({'loss': 5 - n})\nprint('in a cell')")
    paused = "[s.is_paused for s in run.recorder.services._running if hasattr(s, 'is_paused')]"
    assert kernel.value(paused) in ([], [False])
    deadline = time.monotonic() + 15
    found = None
    while time.monotonic() < deadline and (found is None or not found.console()):
        time.sleep(0.1)
        with contextlib.suppress(tracker.CommError):  # not a word of it is there yet
            found = of_run(folder, "one")
    assert found is not None
    assert found.state == "running"
    assert found.summary["loss"] == 1
    assert [row["text"] for row in found.console(contains="in a cell")] == ["in a cell"]
    late = "threading.Timer(0.3, lambda: sys.stdout.write('between cells\\n')).start()"
    kernel.run(f"import sys, threading\n{late}")
    time.sleep(0.6)
    assert kernel.value("run.recorder.services.hurry()") is None


def test_magics_show_the_run(kernel: Kernel) -> None:
    """NB-1"""
    for name in NAMES:
        kernel.shown.clear()
        kernel.run(f"%{name} -h 123")
        assert len(kernel.shown) == 1
        assert "height:123px" in kernel.shown[0]
        assert "loss" in Page(kernel.shown[0]).text
    kernel.shown.clear()
    kernel.run("%tracker -q")
    kernel.run("%tracker main/p/nobody")
    kernel.run("%tracker --sideways")
    assert kernel.shown in ([], [""])
    assert "main/p/nobody cannot be shown" in kernel.printed
    assert "Write: %tracker [PATH]" in kernel.printed
    kernel.shown.clear()
    kernel.printed = ""
    kernel.run("%tracker -w")
    assert kernel.printed == ""
    assert "running" in Page(kernel.shown[0]).text


def test_a_cell_magic_shows_the_run_above_the_cell_and_brings_it_up_to_date(kernel: Kernel) -> None:
    """NB-1"""
    kernel.shown.clear()
    kernel.printed = ""
    kernel.run("%%tracker\nrun.log({'loss': 0.25})\nprint('from the cell')")
    assert "from the cell" in kernel.printed
    assert len(kernel.shown) == 2
    assert "0.25" not in Page(kernel.shown[0]).text
    assert "0.25" in Page(kernel.shown[1]).text


def test_the_next_init_finishes_the_run_and_keeps_the_code(kernel: Kernel, folder: Path) -> None:
    """RE-4, NB-2"""
    kernel.run("run.config.lr = 0.2")
    kernel.run("other = tracker.init(project='p', id='two')")
    found = of_run(folder, "one")
    assert found.state == "finished"
    assert found.config == {"lr": 0.2}
    for text in ("in a cell", "between cells", "from the cell"):
        assert [row["text"] for row in found.console(contains=text)] == [text], "once each"
    with found.file(HISTORY_NAME).download(root=str(folder / "got"), replace=True) as file:
        document = json.load(file)
    sources = ["".join(cell["source"]) for cell in document["cells"]]
    assert sources[1].startswith("import tracker\n")
    assert "%tracker -w" in sources
    assert document["nbformat"] == 4
    assert found.file("code/book.ipynb").size > 0


def test_a_cell_that_fails_leaves_the_run_open_and_shutdown_finishes_it(kernel: Kernel, folder: Path) -> None:
    """NB-2, FIN-6: a run that logs nothing after an exception has failed."""
    assert kernel.run("other.log({'a': 1})\n1/0")["status"] == "error"
    assert kernel.value("tracker.run.id") == "two"
    assert of_run(folder, "two").state == "running"
    kernel.manager.shutdown_kernel(now=False)
    assert of_run(folder, "two").state == "failed"


class Page(HTMLParser):
    """The text of a page in a frame."""

    def __init__(self, frame: str) -> None:
        super().__init__()
        self.text = ""
        inner = re.search(r'srcdoc="([^"]*)"', frame)
        assert inner is not None, frame
        self.feed(html.unescape(inner[1]))

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"
