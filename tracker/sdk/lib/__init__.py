"""Import paths that third parties use; loaded when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.sdk.disabled import RunDisabled as RunDisabled

__all__ = ["RunDisabled"]


def __getattr__(name: str) -> Any:
    if name == "RunDisabled":
        from tracker.sdk.disabled import RunDisabled

        return RunDisabled
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
