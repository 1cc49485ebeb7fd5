"""What every kind of device looks like to the sampler, and how its tools are called."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, Protocol

__all__ = ["Source", "Values", "find_tool", "finite", "json_of_tool", "number_of"]

Values = dict[str, float]  # key without `system.`, value in the unit that the key implies

TOOL_TIMEOUT_S: Final = 10.0


class Source(Protocol):
    """One kind of device or endpoint. Made and asked in the sampler's thread only."""

    def read(self) -> Values:
        """The values of this moment. A value that can not be had now is left out; raises when nothing can be had."""

    def close(self) -> None:
        """Let go of handles and processes."""


def find_tool(name: str, *places: str) -> str | None:
    """The path of a command: on PATH, or one of these usual places."""
    found = shutil.which(name)
    return found or next((place for place in places if Path(place).is_file()), None)


def json_of_tool(command: list[str], timeout_s: float = TOOL_TIMEOUT_S) -> Any:
    """What a command printed as JSON; text before its first bracket (warnings of some tools) is skipped.

    Raises:
        OSError, subprocess.SubprocessError: it can not be run, takes too long or fails.
        ValueError: it printed no JSON.
    """
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=True, close_fds=True
    )
    text = done.stdout.decode("utf-8", "replace")
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if not starts:
        raise ValueError(f"{command[0]} printed no JSON: {text[:80]!r}")
    return json.JSONDecoder().raw_decode(text, min(starts))[0]


def number_of(value: Any) -> float | None:
    """The number in what a tool printed: `12`, `"12.5"`, `{"value": 12, "unit": "W"}`. None: none (`"N/A"`)."""
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def finite(values: dict[str, float | None]) -> Values:
    """Without what is not there, or no finite number."""
    return {key: value for key, value in values.items() if value is not None and math.isfinite(value)}
