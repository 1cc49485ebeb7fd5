"""What is wrong with a question: a usage error that is also the builtin that Python users expect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tracker.storage.errors import UsageError

__all__ = ["FilterError", "FilterTypeError", "suggestion"]


class FilterError(UsageError, ValueError):
    """The filter or order says something that has no meaning; the message says where and what is allowed."""

    code = "filter"


class FilterTypeError(UsageError, TypeError):
    """The filter or order holds a value that has no JSON form."""

    code = "filter-type"


def suggestion(word: str, known: Iterable[str]) -> str:
    """` Did you mean "x"?` for the known word that looks most like `word`, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""
