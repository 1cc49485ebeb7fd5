"""`run.config`: hyperparameters. Top-level keys are set once; changing one has to be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tracker.errors import ConfigError
from tracker.sdk.config_sources import load_config
from tracker.sdk.facts import FactRow, leaves_of, path_of, replace_facts
from tracker.sdk.values import config_value
from tracker.storage.events import KIND_CONFIG

__all__ = ["Config", "ConfigStatic", "config_facts"]


class Config:
    """Dict-like, also by attribute. Values are made JSON friendly (CFG-6) and written at once.

    Nested dicts are replaced as a whole; changing one that was read from here changes nothing (CFG-12).
    """

    def __init__(
        self,
        persist: Callable[[list[FactRow]], None] | None = None,
        initial: dict[str, Any] | None = None,
        *,
        allow_val_change: bool = False,
    ) -> None:
        """`persist` writes facts as one frame, and raises when the run is over; `initial` is not written."""
        vars(self).update(_items={}, _persist=None, _allow_val_change=allow_val_change)
        self.update(initial or {})
        vars(self)["_persist"] = persist

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(self)["_items"][name]
        except KeyError:
            raise AttributeError(f"The config has no key {name!r}.") from None

    def __setitem__(self, key: str, value: Any) -> None:
        self._change({key: value}, self._allow_val_change)

    def __setattr__(self, name: str, value: Any) -> None:
        self._change({name: value}, self._allow_val_change)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        return [key for key in self._items if not key.startswith("_")]

    def items(self) -> list[tuple[str, Any]]:
        return [(key, self._items[key]) for key in self.keys()]

    def get(self, key: str, default: Any = None) -> Any:
        return self._items.get(key, default)

    def as_dict(self) -> dict[str, Any]:
        """A new dict of the top-level keys."""
        return dict(self.items())

    def update(self, d: Any, allow_val_change: bool | None = None) -> None:
        """Set the keys of a dict, a namespace, flags or a YAML file; all of them or, on an error, none.

        Raises:
            ConfigError: a key has another value already, and `allow_val_change` is not True; an unreadable file.
            TypeError: `d` is none of these.
        """
        allowed = self._allow_val_change if allow_val_change is None else allow_val_change
        self._change(load_config(d), allowed)

    def setdefaults(self, d: Any) -> None:
        """Set those keys of `d` that are missing."""
        missing = {key: value for key, value in load_config(d).items() if _clean_key(key) not in self._items}
        self._change(missing, allow_val_change=False)

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def _change(self, entries: dict[str, Any], allow_val_change: bool) -> None:
        clean: dict[str, Any] = {}
        for key, value in entries.items():
            name = _clean_key(key)
            clean[name] = config_value(value, name)
            if not allow_val_change and name in self._items and self._items[name] != clean[name]:
                raise ConfigError(
                    f"The config value of {name!r} is {self._items[name]!r}; it was to become {clean[name]!r}. "
                    f"To change it: config.update(..., allow_val_change=True)."
                )
        facts = config_facts(clean)
        if self._persist is not None and facts:
            self._persist(facts)
        self._items.update(clean)


class ConfigStatic:
    """A read-only view of a config."""

    def __init__(self, config: Config) -> None:
        object.__setattr__(self, "_config", config)

    def __getitem__(self, key: str) -> Any:
        return self._config[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_config"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"config_static is read-only; to set {name!r} to {value!r:.80} use run.config.")

    def __setitem__(self, key: str, value: Any) -> None:
        raise AttributeError(f"config_static is read-only; to set {key!r} to {value!r:.80} use run.config.")

    def __contains__(self, key: object) -> bool:
        return key in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __repr__(self) -> str:
        return repr(self._config)


def config_facts(items: dict[str, Any]) -> list[FactRow]:
    """What sets these keys, and nothing below them but what is given (`items` as `Config` holds them)."""
    facts: list[FactRow] = []
    for key, value in items.items():
        path = path_of((key,), "config")
        facts += replace_facts(KIND_CONFIG, path, leaves_of(path, value))
    return facts


def _clean_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"Config keys are strings, got {type(key).__name__}: {key!r:.80}")
    return key.strip("-")
