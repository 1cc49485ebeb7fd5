"""What the command's exit code says. Documented in docs/cli.md, so that scripts can rely on it."""

from __future__ import annotations

from typing import Final

from tracker.storage.errors import CorruptData, FormatTooNew, NotFound, StorageUnavailable, TrackerError, UsageError

__all__ = [
    "BROKEN_PIPE",
    "DAMAGED",
    "DIFFERENT",
    "EXIT_CODES",
    "FAILED",
    "INTERRUPTED",
    "NOT_FOUND",
    "OK",
    "RUN_ENDED",
    "UNAVAILABLE",
    "USAGE",
    "exit_code_of",
    "root_error",
]

OK: Final = 0
FAILED: Final = 1
DIFFERENT: Final = 1  # as diff(1) and cmp(1) end; `tracker diff` ends with USAGE where others end with FAILED
USAGE: Final = 2
NOT_FOUND: Final = 3
UNAVAILABLE: Final = 4
DAMAGED: Final = 5
RUN_ENDED: Final = {"finished": OK, "failed": 10, "crashed": 11, "killed": 12, "preempted": 13}  # `tracker runs tail`
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

EXIT_CODES: Final = {
    OK: "done",
    FAILED: "something else went wrong; `tracker diff`: the runs differ",
    USAGE: "the call is wrong: an unknown option, field, operator, format, a bad filter or SQL",
    NOT_FOUND: "what was asked for is not in the store",
    UNAVAILABLE: "the store did not answer, or refused the credentials; trying again is safe",
    DAMAGED: "stored bytes are damaged, or a newer tracker wrote them",
    RUN_ENDED["failed"]: "`tracker runs tail`: the run failed",
    RUN_ENDED["crashed"]: "`tracker runs tail`: the run has crashed (nothing was heard of it for five minutes)",
    RUN_ENDED["killed"]: "`tracker runs tail`: the run was killed",
    RUN_ENDED["preempted"]: "`tracker runs tail`: the run was preempted",
    INTERRUPTED: "interrupted (Ctrl-C)",
    BROKEN_PIPE: "the reader of the output went away, as in `| head`",
}


def exit_code_of(error: BaseException) -> int:
    """The exit code for an error, or for the one that it wraps."""
    match root_error(error):
        case NotFound():
            return NOT_FOUND
        case StorageUnavailable():
            return UNAVAILABLE
        case CorruptData() | FormatTooNew():
            return DAMAGED
        case UsageError():
            return USAGE
        case _:
            return FAILED


def root_error(error: BaseException) -> BaseException:
    """The error of ours that a communication error of the public Api carries in `exc`, or the error itself."""
    inner = getattr(error, "exc", None)
    return root_error(inner) if isinstance(inner, TrackerError) else error
