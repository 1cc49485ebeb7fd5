"""The error vocabulary: few classes, told apart by what the caller does next."""

from __future__ import annotations

__all__ = [
    "Conflict",
    "CorruptData",
    "CredentialsMissing",
    "FormatTooNew",
    "KeyTaken",
    "NotFound",
    "StorageUnavailable",
    "TrackerError",
    "UsageError",
]


class TrackerError(Exception):
    """Root of everything that tracker raises on purpose.

    `code` is stable across releases and listed in docs/errors.md; the message says what
    happened, to which value, and what to do.
    """

    code = "tracker-error"


class UsageError(TrackerError):
    """The call is wrong; fix the call."""

    code = "usage"


class NotFound(TrackerError):
    """What was asked for is not in the store."""

    code = "not-found"


class Conflict(TrackerError):
    """Somebody else was there first; go another way."""

    code = "conflict"


class KeyTaken(Conflict):
    """The key already holds other bytes. Not retryable."""

    code = "key-taken"


class StorageUnavailable(TrackerError):
    """The store did not answer, or not in time. Retrying is safe."""

    code = "storage-unavailable"


class CredentialsMissing(StorageUnavailable):
    """The store refused us: credentials are missing, wrong or without the right."""

    code = "credentials"


class CorruptData(TrackerError):
    """Bytes are not what was written. Stop and keep them."""

    code = "corrupt-data"


class FormatTooNew(TrackerError):
    """A newer tracker wrote this; this one must not guess. Upgrade tracker."""

    code = "format-too-new"
