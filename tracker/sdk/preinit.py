"""What `tracker.log`, `tracker.config` and their like are before `init`: they say that `init` comes first (MOD-4)."""

from __future__ import annotations

from typing import Any, NoReturn

from tracker.storage.errors import TrackerError

__all__ = ["PreInitCallable", "PreInitObject"]


class PreInitObject:
    """Stands for an object of the active run while there is none. `name` is its name in the module."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getitem__(self, key: Any) -> NoReturn:
        _refuse(f"{self._name}[{key!r}]")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        _refuse(f"{self._name}[{key!r}]")

    def __getattr__(self, key: str) -> NoReturn:
        if key.startswith("_"):  # tools that inspect are no users
            raise AttributeError(key)
        _refuse(f"{self._name}.{key}")

    def __setattr__(self, key: str, value: Any) -> NoReturn:
        _refuse(f"{self._name}.{key}")

    def __repr__(self) -> str:
        return f"<tracker.{self._name}: no run is active>"


class PreInitCallable(PreInitObject):
    """The same for a function."""

    __slots__ = ()

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        _refuse(f"{self._name}()")

    @property
    def __signature__(self) -> Any:
        """That of the run's method, for editors and `help`."""
        import inspect

        from tracker.sdk.run import Run

        whole = inspect.signature(getattr(Run, self._name))
        return whole.replace(parameters=[p for p in whole.parameters.values() if p.name != "self"])


def _refuse(what: str) -> NoReturn:
    raise TrackerError(f"tracker.init() must be called before tracker.{what}.")
