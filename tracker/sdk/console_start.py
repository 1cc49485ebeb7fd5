"""The console capture that the settings of a run ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.sdk.console import ConsoleCapture, ConsoleSource
from tracker.sdk.console_file import ConsoleFile
from tracker.sdk.console_lines import LineFold, RawLines
from tracker.storage.events import CONSOLE

if TYPE_CHECKING:
    from tracker.sdk.run import Run

__all__ = ["make_console"]


def make_console(run: Run) -> ConsoleCapture | None:
    """The capture that the run's settings ask for."""
    recorder = run.recorder
    options = recorder.options
    writer = recorder.writer
    if writer is None:
        return None

    def write(cells: dict[str, str], time_us: int) -> object:
        return writer.write_points(CONSOLE, cells, time_us)

    file = None
    if options.x_primary and recorder.files_dir is not None:
        file = ConsoleFile(
            recorder.files_dir,
            recorder.files.put,
            goes_on=run.resumed or recorder.place.rank is not None,
            parts=options.console_multipart,
            label=recorder.place.rank,
        )
    def source() -> ConsoleSource | None:
        from tracker.sdk.notebook import in_notebook

        if options.console != "redirect" or in_notebook():  # a kernel has redirected the descriptors itself
            return None
        from tracker.sdk.console_redirect import redirect

        return redirect(writer.spool_dir / "console")

    return ConsoleCapture(
        write,
        source=source,
        lines=RawLines if options.console == "wrap_raw" else LineFold,
        label=options.x_label,
        file=file,
    )
