"""Every exception that tracker raises on purpose. All derive from `Error`, which is a plain Exception."""

from __future__ import annotations

from tracker.storage.errors import (
    Conflict,
    CorruptData,
    CredentialsMissing,
    FormatTooNew,
    KeyTaken,
    NotFound,
    StorageUnavailable,
    UsageError,
)
from tracker.storage.errors import TrackerError as Error

__all__ = [
    "AuthenticationError",
    "CommError",
    "ConfigError",
    "Conflict",
    "CorruptData",
    "CredentialsMissing",
    "Error",
    "FormatTooNew",
    "KeyTaken",
    "NotFound",
    "StorageUnavailable",
    "UnsupportedError",
    "UsageError",
]


class CommError(Error):
    """Talking to the store failed in a way that the caller must know of. `exc` is the original exception, or None."""

    code = "comm"

    def __init__(self, message: str, exc: Exception | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.exc = exc


class AuthenticationError(CommError):
    """The store refused us, or credentials are missing."""

    code = "authentication"


class UnsupportedError(UsageError):
    """This release can not do what was asked for."""

    code = "unsupported"


class ConfigError(Error):
    """A config source can not be read, or a config value was changed without `allow_val_change=True`."""

    code = "config"
