"""The entry point of `tracker`: one fast answer, then the application; errors become one line and an exit code."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command with `sys.argv` and exit with one of `tracker.cli.exit_codes`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from tracker import __version__

        print(f"tracker {__version__}")
        return
    _leave_out_pandas()
    sys.exit(_run())


class _WithoutPandas:
    """An import hook by which pandas is not installed: pyarrow would import it unasked, for 0.4 s."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("the command does without pandas", name=name)


def _leave_out_pandas() -> None:
    sys.meta_path.insert(0, _WithoutPandas())


def _run() -> int:
    from tracker.cli import exit_codes
    from tracker.cli.app import app
    from tracker.cli.output import ReaderGone
    from tracker.cli.talk import say_error

    try:
        try:
            app(prog_name="tracker")
        finally:
            sys.stdout.flush()
    except (BrokenPipeError, ReaderGone):
        _forget_stdout()
        return exit_codes.BROKEN_PIPE
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except Exception as error:
        if os.environ.get("TRACKER_DEBUG"):
            raise
        say_error(error)
        return exit_codes.exit_code_of(error)
    return exit_codes.OK


def _forget_stdout() -> None:
    """Nobody reads any more: what is still buffered goes nowhere, and the interpreter's last flush is quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
