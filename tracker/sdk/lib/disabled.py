"""An import path that third parties use."""

from __future__ import annotations

from tracker.sdk.disabled import RunDisabled

__all__ = ["RunDisabled"]
