"""`CodeCalls`: what a `Run` keeps of code."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracker.sdk import term
from tracker.sdk.code_filters import is_code, is_generated

if TYPE_CHECKING:
    from tracker.sdk.options import RunOptions
    from tracker.sdk.recorder import Recorder
    from tracker.sdk.saved_code import CodeFiles

__all__ = ["CodeCalls"]


class CodeCalls:
    """`Run` sets the attributes below in its constructor."""

    _options: RunOptions
    _recorder: Recorder

    def log_code(
        self,
        root: str | None = ".",
        name: str | None = None,
        include_fn: Callable[[str, str], bool] | Callable[[str], bool] = is_code,
        exclude_fn: Callable[[str, str], bool] | Callable[[str], bool] = is_generated,
    ) -> CodeFiles | None:
        """Keep source files below `root` with the run, as `code/<path below root>` (CODE-1).

        By default those are `*.py`, requirements files and Dockerfiles. `include_fn` and `exclude_fn` get the absolute
        path, or path and root. `name`: None: `source-<project>-<program>`. None, with a warning: nothing was found.

        Raises:
            ValueError: a `name` with other characters than letters, digits, `-`, `_` and `.`.
            UsageError: the run is finished.
        """
        from tracker.sdk.metadata_parts import program_file
        from tracker.sdk.saved_code import CodeFiles, code_name, find_code

        self._recorder.open_writer("log_code")
        if name is not None and not re.fullmatch(r"[a-zA-Z0-9_.\-]{1,128}", name):
            raise ValueError(f"log_code: the name {name!r} may have letters, digits, '-', '_' and '.', at most 128.")
        folder = os.path.abspath(root if root is not None else ".")
        found = find_code(folder, include_fn, exclude_fn)
        if not found:
            term.warn(f"log_code found no file below {folder} that it should keep")
            return None
        for path in found:
            self._recorder.files.put(os.path.join(folder, path), f"code/{path}")
        program = program_file(self._options)
        shown = name or code_name(str(self._options.project), program.in_repository if program else None)
        return CodeFiles(shown, tuple(found), folder)
