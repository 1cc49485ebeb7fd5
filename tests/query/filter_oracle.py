"""The rules of filters and orders in plain Python: reads the raw document itself and shares no code with tracker.query.

A run is a dict: id, state, created_at (us), duration, tags (list), config and summary (nested dicts), and name and
group, which may be absent.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

MISSING = object()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUMMARY = ("summary_metrics.", "summary.")


def matches(document: dict[str, Any], run: dict[str, Any]) -> bool:
    """FILT-1, FILT-3: every entry of the document holds."""
    return all(_entry(name, condition, run) for name, condition in document.items())


def ordered(order: str, runs: list[dict[str, Any]]) -> list[str]:
    """Ids in order: ORD-1, ORD-2, ORD-5. Sorting is stable, so the last key is sorted by first."""
    runs = sorted(runs, key=lambda run: (run["created_at"], run["id"]))
    for key in reversed(order.split(",")):
        name, down = key.lstrip("+-"), key.startswith("-")
        ranked = [(_rank(_value(name, run)), run) for run in runs]
        runs = []
        for kind in range(4):
            same = [(value, run) for (rank, value), run in ranked if rank == kind]
            same.sort(key=lambda pair: pair[0], reverse=down)
            runs += [run for _, run in same]
    return [run["id"] for run in runs]


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers, strings, bools; whatever has no place comes last."""
    if isinstance(value, datetime) or (_is_number(value) and value == value):
        return 0, value
    if isinstance(value, str):
        return 1, value
    if isinstance(value, bool):
        return 2, value
    return 3, 0


def _entry(name: str, condition: Any, run: dict[str, Any]) -> bool:
    match name:
        case "$and":
            return all(matches(part, run) for part in condition)
        case "$or":
            return any(matches(part, run) for part in condition)
        case "$nor":
            return not any(matches(part, run) for part in condition)
    if isinstance(condition, dict) and any(key.startswith("$") for key in condition):
        return _operators(name, condition, run)
    return _equals(name, run, condition)


def _operators(name: str, operators: dict[str, Any], run: dict[str, Any]) -> bool:
    return all(_operator(name, operator, operand, run) for operator, operand in operators.items())


def _operator(name: str, operator: str, operand: Any, run: dict[str, Any]) -> bool:
    value = _value(name, run)
    candidates = value if isinstance(value, list) else [value]
    match operator:
        case "$eq":
            return _equals(name, run, operand)
        case "$ne":
            return not _equals(name, run, operand)
        case "$in":
            return any(_equals(name, run, item) for item in operand)
        case "$nin":
            return not any(_equals(name, run, item) for item in operand)
        case "$exists":
            return (name == "tags" or value is not MISSING) == operand
        case "$regex":
            pattern = f"(?i){operand}" if name == "state" else operand
            return any(isinstance(item, str) and re.search(pattern, item) is not None for item in candidates)
        case "$not":
            return not _operators(name, operand, run)
        case _:
            return any(_ordered(operator, item, _as_stored(name, operand)) for item in candidates)


def _ordered(operator: str, value: Any, operand: Any) -> bool:
    """FILT-9."""
    numbers = _is_number(value) and _is_number(operand)
    if not numbers and not any(isinstance(value, kind) and isinstance(operand, kind) for kind in (str, datetime)):
        return False
    match operator:
        case "$gt":
            return value > operand
        case "$gte":
            return value >= operand
        case "$lt":
            return value < operand
        case "$lte":
            return value <= operand
    raise AssertionError(operator)


def _equals(name: str, run: dict[str, Any], operand: Any) -> bool:
    """FILT-7, FILT-10, FILT-11."""
    value, operand = _value(name, run), _as_stored(name, operand)
    if name == "tags" and value in (MISSING, None, []):
        return operand is None or operand == []
    if value is MISSING:
        return operand is None
    if isinstance(value, list) and any(_identical(item, operand) for item in value):
        return True
    return _identical(value, operand)


def _identical(left: Any, right: Any) -> bool:
    if _is_number(left) and _is_number(right):
        return left == right  # Python compares int and float exactly
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_identical, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_identical(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


def _as_stored(name: str, operand: Any) -> Any:
    """FILT-13, FILT-14: times, and states in lower case."""
    if name in ("createdAt", "created_at") and isinstance(operand, str):
        time = datetime.fromisoformat(operand)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    if name == "state" and isinstance(operand, str):
        return operand.lower()
    return operand


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _value(name: str, run: dict[str, Any]) -> Any:
    """The value of the field, or MISSING."""
    if name.startswith("config."):
        return _first([_unwrapped(names) for names in _readings(name.removeprefix("config."))], run["config"])
    for prefix in _SUMMARY:
        if name.startswith(prefix):
            return _first(_readings(name[len(prefix) :]), run["summary"])
    match name:
        case "name" | "id":
            return run["id"]
        case "displayName" | "display_name":
            return run.get("name", MISSING)
        case "createdAt" | "created_at":
            return EPOCH + timedelta(microseconds=run["created_at"])
        case _:
            return run.get(name, MISSING)


def _first(readings: list[list[str]], tree: dict[str, Any]) -> Any:
    return next((found for names in readings if (found := _walk(names, tree)) is not MISSING), MISSING)


def _walk(names: list[str], tree: Any) -> Any:
    for name in names:
        if not isinstance(tree, dict) or "_type" in tree or name not in tree:
            return MISSING
        tree = tree[name]
    return tree


def _readings(path: str) -> list[list[str]]:
    """FILT-6: literal keys before nested ones, at each level the longest first."""
    words = path.split(".")
    if len(words) == 1:
        return [words]
    found = []
    for taken in range(len(words), 0, -1):
        head, rest = ".".join(words[:taken]), ".".join(words[taken:])
        found += [[head, *below] for below in _readings(rest)] if taken < len(words) else [[head]]
    return found


def _unwrapped(names: list[str]) -> list[str]:
    """FILT-5: `value` after the first key is the wrapper."""
    return [names[0], *names[2:]] if len(names) > 1 and names[1] == "value" else names

