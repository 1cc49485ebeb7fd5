"""`tracker.gym`: the videos that Gymnasium records, in the run."""

from __future__ import annotations

from tracker.sdk.gym_monitor import monitor

__all__ = ["monitor"]
