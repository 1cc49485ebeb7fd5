"""`tracker.api`: what scripts ask the reference's internal client; there is no account and no server behind it."""

from __future__ import annotations

import os
from typing import Any

from tracker.base_url import resolve_base_url
from tracker.sdk import session
from tracker.sdk.identity import DEFAULT_ENTITY
from tracker.sdk.options import options_from
from tracker.sdk.settings_layers import merge_layers

__all__ = ["Api", "InternalApi"]


class InternalApi:
    """The settings that a run would have now, under the names that scripts use. Asks no network."""

    def __init__(self, default_settings: dict[str, Any] | None = None, **_: Any) -> None:
        """`default_settings` are read before the environment and files."""
        self._settings = dict(default_settings or {})

    @property
    def api_key(self) -> str | None:
        """What the environment or settings name as a key. None is no obstacle: no key is needed."""
        return self._merged().get("api_key")

    @property
    def is_authenticated(self) -> bool:
        """True: there is no account to log into."""
        return True

    @property
    def default_entity(self) -> str:
        return str(self._merged().get("entity") or DEFAULT_ENTITY)

    @property
    def api_url(self) -> str:
        """The root that data goes to."""
        return resolve_base_url(self._merged().get("base_url"))

    def viewer(self) -> dict[str, Any]:
        """Who works here, as far as that is known: the operating system's user and the default entity."""
        merged = self._merged()
        name = str(merged.get("username") or "")
        return {"username": name, "entity": self.default_entity, "email": merged.get("email"), "teams": {"edges": []}}

    def settings(self, key: str | None = None, section: str | None = None) -> Any:
        """One setting (None where it is not set), or all that are set, by name. `section` changes nothing."""
        _ = section
        merged = self._merged() | {"entity": self.default_entity, "base_url": self.api_url}
        return merged if key is None else merged.get(key)

    def set_setting(self, key: str, value: Any, globally: bool = False, persist: bool = False) -> None:
        """Runs that this process starts from now on have this setting. Kept nowhere else.

        Raises:
            pydantic.ValidationError (a ValueError): an unknown name or a value of a wrong type.
        """
        _ = (globally, persist)
        session.setup({key: value})

    def _merged(self) -> dict[str, Any]:
        merged = self._settings | merge_layers(session.current.settings, {}, {})
        return {name: value for name, value in options_from(merged).as_settings().items() if value is not None}

    def __repr__(self) -> str:
        return f"<InternalApi pid={os.getpid()}>"


Api = InternalApi
