"""The SDK: what runs inside a training script. Import from the modules; this file loads nothing by itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_BY_ATTRIBUTE = ("lib", "wandb_run")  # third parties reach these as attributes


def __getattr__(name: str) -> ModuleType:
    if name in _BY_ATTRIBUTE:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
