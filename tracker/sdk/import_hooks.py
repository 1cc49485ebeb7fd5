"""Calls a function with a module as soon as it is there, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["when_imported"]

Call = Callable[[ModuleType], None]
_waiting: dict[str, list[Call]] = {}


def when_imported(name: str, call: Call) -> Callable[[], None]:
    """Call `call(module)` now if module `name` is loaded, else right after it was imported. Returns what undoes that.

    What `call` raises reaches nobody: an import of the user's does not fail for it.
    """
    module = sys.modules.get(name)
    if module is not None:
        call(module)
        return lambda: None
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    _waiting.setdefault(name, []).append(call)
    return lambda: _forget(name, call)


def _forget(name: str, call: Call) -> None:
    calls = _waiting.get(name, [])
    if call in calls:
        calls.remove(call)
    if not calls:
        _waiting.pop(name, None)
    if not _waiting:
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]


class _Finder:
    """Finds what the others find, for the names that are waited for, and has them loaded by `_Loader`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _waiting:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads as `loader` does and then calls those who wait; the module knows only `loader`."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        for call in list(_waiting.get(module.__name__, ())):
            _forget(module.__name__, call)
            try:
                call(module)
            except Exception as exc:
                from tracker.sdk import term

                term.warn(f"{module.__name__} could not be patched: {type(exc).__name__}: {exc}")
