"""`tracker.require`: asks for features by name; here all that exist are on (MOD-7)."""

from __future__ import annotations

from collections.abc import Iterable

from tracker.errors import UnsupportedError
from tracker.sdk import term

__all__ = ["require"]

_KNOWN = ("core", "service", "legacy-service", "require")


def require(requirement: str | Iterable[str] | None = None, experiment: str | Iterable[str] | None = None) -> None:
    """Accept the reference's old feature names; a suffix after `:` or `@` is ignored.

    Raises:
        UnsupportedError: a name that is not known.
    """
    wanted = requirement if requirement is not None else experiment
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    for name in names:
        plain = name.split(":")[0].split("@")[0]
        if plain not in _KNOWN:
            term.warn(f"require({name!r}): no such feature")
            raise UnsupportedError(f"require() knows {', '.join(_KNOWN)}, not {name!r}. Remove the call.")
        if plain == "core":
            term.warn("require('core') has no effect: it is the default")
