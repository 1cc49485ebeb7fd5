"""Import paths that third parties use; loaded when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.sdk.disabled import RunDisabled as RunDisabled

__all__ = ["RunDisabled"]

_BY_ATTRIBUTE = ("config_util", "disabled")


def __getattr__(name: str) -> Any:
    if name == "RunDisabled":
        return importlib.import_module("tracker.sdk.disabled").RunDisabled
    if name in _BY_ATTRIBUTE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
