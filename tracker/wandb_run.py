"""An import path that third parties use."""

from __future__ import annotations

from tracker.sdk.run import Run

__all__ = ["Run"]
