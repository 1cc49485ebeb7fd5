"""Helpers under the names that scripts import them by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracker.sdk.config_sources import load_config, select_keys

__all__ = ["parse_config"]


def parse_config(
    params: Any, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
) -> dict[str, Any]:
    """A dict from a dict, namespace, absl flags or YAML path, with only `include` or without `exclude` (MOD-8).

    Raises:
        UsageError: both `include` and `exclude` are given.
        TypeError, ConfigError: `params` is nothing that a config can be read from.
    """
    return select_keys(load_config(params), list(include or ()), list(exclude or ()))
