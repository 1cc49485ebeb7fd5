"""API keys: made here, shown once, kept as a salted hash. No store ever holds one that could be used."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["key_facts", "matches", "new_key", "shown_key"]

_KEY_BYTES: Final = 20  # 40 hex digits, as long as people expect one to be
_SALT_BYTES: Final = 16
_LAST: Final = 4


def new_key() -> str:
    """40 hex digits from the system's randomness."""
    return secrets.token_hex(_KEY_BYTES)


def key_facts(key: str, *, by: str, now_us: int, description: str | None = None) -> dict[str, Any]:
    """What is kept of `key`: `salt`, `sha256` of salt and key (both hex), `last4`, `created_by`, `created_at` (us)."""
    salt = secrets.token_hex(_SALT_BYTES)
    facts: dict[str, Any] = {"salt": salt, "sha256": _hash(salt, key), "last4": key[-_LAST:]}
    facts |= {"created_by": by, "created_at": now_us}
    return facts if description is None else facts | {"description": str(description)}


def matches(key: str, facts: Mapping[str, Any]) -> bool:
    """Whether this is the key that `facts` were kept of."""
    salt, digest = facts.get("salt"), facts.get("sha256")
    return isinstance(salt, str) and isinstance(digest, str) and hmac.compare_digest(_hash(salt, key), digest)


def shown_key(facts: Mapping[str, Any]) -> str:
    """The key as people may see it: its last four characters behind as many stars as it has others."""
    return "*" * (2 * _KEY_BYTES - _LAST) + str(facts.get("last4", ""))


def _hash(salt: str, key: str) -> str:
    """One round: a key has 160 random bits, so nobody guesses it from its hash, however fast hashing is."""
    return hashlib.sha256(f"{salt}:{key}".encode("utf-8", "surrogatepass")).hexdigest()
