"""A run that is open in a notebook: between cells it pauses, and its cells are kept at the end (NB-2)."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import exits
from tracker.sdk.magics import load_magics
from tracker.sdk.notebook import shell_here
from tracker.sdk.notebook_path import notebook_path

if TYPE_CHECKING:
    from tracker.sdk.run import Run

__all__ = ["HISTORY_NAME", "NotebookSession", "cells_as_notebook", "executed_cells", "make_notebook_session"]

HISTORY_NAME: Final = "code/_session_history.ipynb"

_TIDY_S: Final = 0.05


class NotebookSession:
    """Listens to the shell while the run is open."""

    def __init__(self, run: Run, shell: Any) -> None:
        self._run, self._shell = run, shell
        self._heard = {"pre_run_cell": self._before_cell, "post_run_cell": self._after_cell}

    def start(self) -> None:
        load_magics(self._shell)
        for event, call in self._heard.items():
            self._shell.events.register(event, call)

    def stop(self, exit_code: int) -> None:
        _ = exit_code
        self._let_go()
        options, files = self._run.recorder.options, self._run.recorder.files
        if options.disable_code or not options.x_primary:
            return
        cells = executed_cells(self._shell)
        if cells:
            files.put_bytes(HISTORY_NAME, cells_as_notebook(cells))
        file = notebook_path(options.notebook_name, os.environ)
        if file is not None and file.is_file():
            files.put(file, f"code/{file.name}")

    def after_fork(self) -> None:
        self._let_go()

    def _before_cell(self, *_: Any) -> None:
        self._run.recorder.services.resume()
        self._run.recorder.services.listen()

    def _after_cell(self, result: Any = None, *_: Any) -> None:
        """What the cell logged is sent soon; if it failed, the run has failed unless it goes on."""
        recorder = self._run.recorder
        recorder.services.hurry()
        recorder.services.pause()
        if recorder.writer is not None:
            recorder.writer.request_flush()
        with contextlib.suppress(AttributeError):  # when the shell has tidied up behind the cell
            self._shell.kernel.io_loop.call_later(_TIDY_S, recorder.services.listen)
        error = getattr(result, "error_in_exec", None)
        if error is not None and not isinstance(error, KeyboardInterrupt):
            exits.watch.note_cell_error()

    def _let_go(self) -> None:
        for event, call in self._heard.items():
            with contextlib.suppress(ValueError):  # it was not registered
                self._shell.events.unregister(event, call)


def make_notebook_session(run: Run) -> NotebookSession | None:
    """None outside of a kernel."""
    shell = shell_here()
    return None if shell is None or not hasattr(shell, "events") else NotebookSession(run, shell)


def executed_cells(shell: Any) -> list[tuple[int, str, str | None]]:
    """Number, source and printed value of the cells that this kernel has run, in order."""
    history = shell.history_manager
    values = getattr(history, "output_hist_reprs", {})
    found = []
    for _, number, source in history.get_range(raw=True):
        text = source[0] if isinstance(source, tuple) else source
        if number and text.strip():
            found.append((number, text, values.get(number)))
    return found


def cells_as_notebook(cells: list[tuple[int, str, str | None]]) -> bytes:
    """A notebook file (format 4.5) with these cells."""

    def output(number: int, value: str | None) -> list[dict[str, Any]]:
        if value is None:
            return []
        data = {"text/plain": value.splitlines(keepends=True)}
        return [{"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}]

    document = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "execution_count": number,
                "metadata": {},
                "source": source.splitlines(keepends=True),
                "outputs": output(number, value),
            }
            for number, source, value in cells
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "version": platform.python_version()},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
