"""An import path that third parties use."""

from __future__ import annotations

from tracker.errors import ConfigError

__all__ = ["ConfigError"]
