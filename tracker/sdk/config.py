"""`run.config`: hyperparameters. Top-level keys are set once; changing one has to be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tracker.errors import ConfigError
from tracker.sdk import term
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
        locked: Mapping[str, Any] | None = None,
    ) -> None:
        """`persist` writes facts as one frame, and raises when the run is over; `initial` is not written, nor is
        `locked`: by who decides them, keys that override `initial` and then stay (CFG-13).
        """
        vars(self).update(_items={}, _persist=None, _locked={}, _allow_val_change=allow_val_change)
        self.update(initial or {})
        for user, entries in (locked or {}).items():
            self.merge_locked(entries, user=user)
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

    def update_locked(self, d: Any, user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """Set the keys of `d`, whatever they were, and lock them: `user`, a word for messages, decides them (CFG-13).

        Raises as `load_config`.
        """
        _ = _allow_val_change
        entries = {_clean_key(key): value for key, value in load_config(d).items()}
        self._set(entries, allow_val_change=True)
        self._locked.update(dict.fromkeys(entries, user or "code"))

    def merge_locked(self, d: Any, user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """As `update_locked`; dicts are merged into the dicts that are there, at any depth."""
        entries = {_clean_key(key): value for key, value in load_config(d).items()}
        merged = {key: _merged(self._items.get(key, value), value) for key, value in entries.items()}
        self.update_locked(merged, user, _allow_val_change)

    def setdefaults(self, d: Any) -> None:
        """Set those keys of `d` that are missing."""
        missing = {key: value for key, value in load_config(d).items() if _clean_key(key) not in self._items}
        self._change(missing, allow_val_change=False)

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def _change(self, entries: dict[str, Any], allow_val_change: bool) -> None:
        free = {}
        for key, value in entries.items():
            locker = self._locked.get(_clean_key(key))
            if locker is None:
                free[key] = value
            else:
                term.warn(f"config key {key!r} was locked by {locker}; the update is ignored")
        self._set(free, allow_val_change=allow_val_change)

    def _set(self, entries: dict[str, Any], *, allow_val_change: bool) -> None:
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


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key, value), value) for key, value in new.items()}


def _clean_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"Config keys are strings, got {type(key).__name__}: {key!r:.80}")
    return key.strip("-")
