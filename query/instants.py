"""Times as people write them, to microseconds since the epoch, and back as ISO 8601 in UTC."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from tracker.storage.errors import UsageError

__all__ = ["TIME_EXAMPLES", "instant_us", "iso_micros", "iso_seconds", "moment_us"]

TIME_EXAMPLES: Final = 'Write for example "2024-01-08" or "2024-01-08T05:30:00Z".'
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_MONTH: Final = re.compile(r"(\d{4})(?:-(\d{2}))?")
_US: Final = timedelta(microseconds=1)


def iso_seconds(time_us: int) -> str:
    """ISO 8601, UTC, to the second."""
    return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}Z"


def iso_micros(time_us: int) -> str:
    """ISO 8601, UTC, to the microsecond."""
    return f"{iso_seconds(time_us)[:-1]}.{time_us % 1_000_000:06d}Z"


def instant_us(value: str | date) -> int:
    """A date, a datetime, or ISO 8601 text, partial ones too: what is left out is the start. Without a zone it is UTC.

    Raises:
        ValueError: the text is no time.
    """
    time = _parsed(value.strip()) if isinstance(value, str) else value
    if not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day, tzinfo=UTC)
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _US


def moment_us(value: object, what: str) -> int:
    """As `instant_us`, or seconds since the epoch. `what` names the value in messages.

    Raises:
        UsageError: none of these, or no time after the epoch.
    """
    moment: float | int | None = None
    if isinstance(value, str | date):
        try:
            moment = instant_us(value)
        except ValueError:
            raise UsageError(f'{what}="{str(value)[:60]}" is no ISO 8601 time. {TIME_EXAMPLES}') from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        moment = value * 1_000_000 if math.isfinite(value) else None
    if moment is None or moment < 0:
        raise UsageError(
            f"{what}={value!r:.60} is no time. Give a datetime, ISO 8601 text, or seconds since the epoch."
        )
    return int(moment)


def _parsed(text: str) -> datetime:
    short = _YEAR_MONTH.fullmatch(text)
    return datetime.fromisoformat(f"{short[1]}-{short[2] or '01'}-01" if short else text)
