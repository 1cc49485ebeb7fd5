"""MongoDB-style filter documents to the typed tree. What has no meaning is refused with its place; nothing is narrowed.

Source: the query language of the MongoDB manual, in the subset and with the rules of the W&B public API.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from tracker.query.errors import FilterError, FilterTypeError, suggestion
from tracker.query.fields import bind_field
from tracker.query.filter_tree import (
    AllOf,
    AnyOf,
    Compare,
    CompareOp,
    DictValue,
    Equals,
    Exists,
    Field,
    Filter,
    Instant,
    Matches,
    Negate,
    OneOf,
    Operand,
)
from tracker.query.instants import TIME_EXAMPLES, instant_us

__all__ = ["DEPTH_MAX", "OPERATORS", "parse_filter"]

DEPTH_MAX: Final = 100  # documents inside documents
_CONDITIONS_MAX: Final = 1_000
_VALUES_MAX: Final = 100_000
_INT_BITS_MAX: Final = 14_000  # Python refuses to write longer ones as text
_LOGICAL: Final = ("$and", "$or", "$nor")
_ORDERINGS: Final[dict[str, CompareOp]] = {"$gt": "$gt", "$gte": "$gte", "$lt": "$lt", "$lte": "$lte"}
_FIELD_OPERATORS: Final = ("$eq", "$ne", *_ORDERINGS, "$in", "$nin", "$exists", "$regex", "$not")
OPERATORS: Final = (*_LOGICAL, *_FIELD_OPERATORS)


def parse_filter(document: Mapping[str, Any] | None) -> Filter:
    """The tree that selects what `document` describes; None and `{}` select every run.

    Raises:
        FilterError: unknown operators or fields, wrong operands, invalid patterns, too deep or too large. A ValueError.
        FilterTypeError: a value without a JSON form (datetimes are allowed). A TypeError.
    """
    return AllOf(()) if document is None else _Parser().document(document, "", 0)


class _Parser:
    """One walk over one document; counts, so that a huge one is refused before it costs anything."""

    def __init__(self) -> None:
        self._conditions = self._values = 0

    def document(self, document: object, at: str, depth: int) -> Filter:
        """`{field: condition, "$or": [...], ...}`: all of them."""
        if not isinstance(document, Mapping):
            raise FilterError(f"A filter is a document {{field: value}}, not {_show(document)}{_at(at)}.")
        _check_depth(at, depth)
        parts = []
        for name, value in document.items():
            if not isinstance(name, str):
                raise FilterError(f"A field name is a string, not {_show(name)}{_at(at)}.")
            here = f"{at}.{name}" if at else name
            if name in _LOGICAL:
                parts.append(self._logical(name, value, here, depth))
            elif name.startswith("$"):
                raise FilterError(_misplaced(name, at))
            else:
                parts.append(self._condition(bind_field(name, where=at), value, here, depth + 1))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _logical(self, operator: str, value: object, at: str, depth: int) -> Filter:
        if not isinstance(value, (list, tuple)) or not value:
            raise FilterError(f"{operator} needs a non-empty list of documents, not {_show(value)}{_at(at)}.")
        parts = tuple(self.document(part, f"{at}[{index}]", depth + 1) for index, part in enumerate(value))
        if operator == "$and":
            return parts[0] if len(parts) == 1 else AllOf(parts)
        some = parts[0] if len(parts) == 1 else AnyOf(parts)
        return Negate(some) if operator == "$nor" else some

    def _condition(self, field: Field, value: object, at: str, depth: int) -> Filter:
        """What stands behind a field: operators, or a value that it shall equal."""
        _check_depth(at, depth)
        if isinstance(value, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in value):
            return self._operators(field, value, at, depth)
        self._count_condition()
        return Equals(field, self._operand(field, value, at, depth))

    def _operators(self, field: Field, document: Mapping[object, object], at: str, depth: int) -> Filter:
        parts = []
        for operator, value in document.items():
            if not isinstance(operator, str) or not operator.startswith("$"):
                raise FilterError(f"{_show(operator)} stands among operators at {at}. Use one or the other.")
            if operator not in _FIELD_OPERATORS:
                raise FilterError(_unknown_operator(operator, at))
            parts.append(self._operator(field, operator, value, at, depth + 1))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _operator(self, field: Field, operator: str, value: object, at: str, depth: int) -> Filter:
        _check_depth(at, depth)
        self._count_condition()
        match operator:
            case "$eq":
                return Equals(field, self._operand(field, value, at, depth))
            case "$ne":
                return Negate(Equals(field, self._operand(field, value, at, depth)))
            case "$in" | "$nin":
                if not isinstance(value, (list, tuple)):
                    raise FilterError(f"{operator} needs a list at {at}, not {_show(value)}.")
                some = OneOf(field, tuple(self._operand(field, item, at, depth + 1) for item in value))
                return some if operator == "$in" else Negate(some)
            case "$exists":
                if value not in (True, False):
                    raise FilterError(f"$exists needs true or false at {at}, not {_show(value)}.")
                return Exists(field) if value else Negate(Exists(field))
            case "$regex":
                return Matches(field, _checked_pattern(value, at))
            case "$not":
                if not isinstance(value, Mapping) or not value:
                    raise FilterError(f'$not needs operators at {at}, such as {{"$gt": 1}}, not {_show(value)}.')
                return Negate(self._operators(field, value, at, depth))
            case _:
                return Compare(field, _ORDERINGS[operator], self._operand(field, value, at, depth))

    def _operand(self, field: Field, value: object, at: str, depth: int) -> Operand:
        plain = self._plain(value, at, depth)
        if field.type == "time":
            return _instant(value, at) if isinstance(value, (str, date)) else plain
        if field.type == "state" and isinstance(plain, str):
            return plain.lower()
        return plain

    def _plain(self, value: object, at: str, depth: int) -> Operand:
        """`value` frozen, with exactly the types that JSON has (and datetimes as their ISO text)."""
        _check_depth(at, depth)
        self._values += 1
        if self._values > _VALUES_MAX:
            raise FilterError(f"The filter has more than {_VALUES_MAX} values. Split the question.")
        match value:
            case None | bool():
                return value
            case int():
                if value.bit_length() > _INT_BITS_MAX:
                    raise FilterError(f"The number at {at} has more than {_INT_BITS_MAX} bits; no stored one has.")
                return int(value)
            case float():
                return float(value)
            case str():
                return _checked_text(str(value), at)
            case date():
                return value.isoformat()
            case list() | tuple():
                return tuple(self._plain(item, at, depth + 1) for item in value)
            case Mapping():
                items = {_json_key(key, at): self._plain(item, at, depth + 1) for key, item in value.items()}
                return DictValue(tuple(sorted(items.items())))
            case _:
                raise FilterTypeError(f"A {type(value).__name__} at {at} has no JSON form: {_show(value)}.")

    def _count_condition(self) -> None:
        self._conditions += 1
        if self._conditions > _CONDITIONS_MAX:
            raise FilterError(f"The filter has more than {_CONDITIONS_MAX} conditions. Split the question, or use $in.")


def _check_depth(at: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise FilterError(f"The filter is nested deeper than {DEPTH_MAX} levels at {at[:80]}... Write it flatter.")


def _checked_text(text: str, at: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FilterError(f"The text {_show(text)} at {at} is not valid Unicode (half a surrogate pair).") from None
    return text


def _json_key(key: object, at: str) -> str:
    """A dict key as JSON writes it."""
    match key:
        case str():
            return _checked_text(str(key), at)
        case None | bool():
            return {None: "null", True: "true", False: "false"}[key]
        case int():
            return str(int(key))
        case float():
            return repr(float(key))
        case _:
            raise FilterTypeError(f"A key of type {type(key).__name__} at {at} has no JSON form: {_show(key)}.")


def _instant(value: str | date, at: str) -> Instant:
    try:
        return Instant(instant_us(value))
    except ValueError:
        raise FilterError(f'"{str(value)[:60]}" at {at} is no ISO 8601 time. {TIME_EXAMPLES}') from None


def _checked_pattern(pattern: object, at: str) -> str:
    if not isinstance(pattern, str):
        raise FilterError(f"$regex needs a string at {at}, not {_show(pattern)}.")
    import pyarrow as pa
    import pyarrow.compute as pc  # RE2, the engine that runs the pattern later

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except (pa.ArrowInvalid, UnicodeEncodeError) as exc:
        reason = str(exc).removeprefix("Invalid regular expression: ")
        raise FilterError(f'The pattern "{pattern[:60]}" at {at} is no RE2 pattern: {reason}.') from None
    return str(pattern)


def _unknown_operator(operator: str, at: str) -> str:
    if operator in _LOGICAL:
        return f'"{operator}" stands at {at}, below a field. It belongs around whole documents.'
    return _unknown(operator, at, _FIELD_OPERATORS)


def _misplaced(operator: str, at: str) -> str:
    if operator in _FIELD_OPERATORS:
        return f'"{operator}" stands{_at(at)} where a field is expected. Write {{"field": {{"{operator}": ...}}}}.'
    return _unknown(operator, at, _LOGICAL)


def _unknown(operator: str, at: str, known: tuple[str, ...]) -> str:
    return f'Unknown operator "{operator}"{_at(at)}.{suggestion(operator, known)} Known: {", ".join(known)}.'


def _at(at: str) -> str:
    return f" at {at}" if at else ""


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
