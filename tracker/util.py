"""Helpers under the names that third parties import them by."""

from __future__ import annotations

import json
from typing import Any

from tracker.sdk.values import history_value

__all__ = ["json_dumps_safer"]


def json_dumps_safer(obj: Any, **kwargs: Any) -> str:
    """JSON text; arrays, dates, enums and the like become what a logged value becomes. Raises TypeError otherwise."""
    return json.dumps(obj, default=lambda value: history_value(value, type(value).__name__), **kwargs)
