"""Exceptions of the public classes, and the wrapping that the reference does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tracker.errors import CommError, Error, NotFound

__all__ = [
    "CommIndexError",
    "CommTypeError",
    "CommValueError",
    "NoSuchProject",
    "NoSuchRun",
    "NoSuchTeam",
    "comm_errors",
]

P = ParamSpec("P")
R = TypeVar("R")


class CommValueError(CommError, ValueError):
    """A ValueError inside of a wrapped call. `exc` is the original."""


class CommTypeError(CommError, TypeError):
    """A TypeError inside of a wrapped call. `exc` is the original."""


class CommIndexError(CommError, IndexError):
    """An IndexError inside of a wrapped call. `exc` is the original."""


class NoSuchProject(CommValueError, NotFound):
    """The store holds no run of that project."""

    code = "not-found"

    def __init__(self, message: str) -> None:
        super().__init__(message, ValueError(message))


class NoSuchRun(CommValueError, NotFound):
    """The store holds no run of that id."""

    code = "not-found"

    def __init__(self, message: str) -> None:
        super().__init__(message, ValueError(message))


class NoSuchTeam(CommValueError, NotFound):
    """The root knows no team of that name."""

    code = "not-found"

    def __init__(self, message: str) -> None:
        super().__init__(message, ValueError(message))


def comm_errors(call: Callable[P, R]) -> Callable[P, R]:
    """API-8: what is no `Error` leaves `call` as a CommError with the same text and the original in `.exc`.

    A ValueError, TypeError or IndexError stays one as well.
    """

    @functools.wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except CommError:
            raise
        except Exception as exc:
            for builtin, kind in (
                (ValueError, CommValueError),
                (TypeError, CommTypeError),
                (IndexError, CommIndexError),
            ):
                if isinstance(exc, builtin):
                    raise kind(str(exc), exc) from exc
            if isinstance(exc, Error):
                raise
            raise CommError(str(exc), exc) from exc

    return wrapped
