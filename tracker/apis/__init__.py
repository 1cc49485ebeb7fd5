"""tracker.apis: asking questions of what was logged. `tracker.Api` is `tracker.apis.public.Api`, loaded when used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.apis import internal as internal
    from tracker.apis import public as public
    from tracker.apis.public import Api as Api

__all__ = ["Api", "internal", "public"]


def __getattr__(name: str) -> Any:
    if name == "Api":
        return importlib.import_module("tracker.apis.public").Api
    if name in ("internal", "public"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
