"""Numbers against a number, exactly: doubles, 64-bit integers and integers of any size, as mathematics compares them.

A stored integer has its nearest double beside it; a comparison of doubles is exact while the operand lies
inside ±2^53. Beyond that integers are compared as their digits, and doubles against a bound rounded to the right side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from tracker.query.sql_text import FALSE, TRUE, Sql, all_sql, any_sql, sql

__all__ = ["NumberColumn", "NumberOp", "is_exact_double", "number_sql"]

NumberOp = Literal["=", "<", "<=", ">", ">="]
_EXACT: Final = 2**53
_FLIPPED: Final[dict[NumberOp, NumberOp]] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """SQL of ours for one number: its nearest double; whether it is an integer; then its digits."""

    double: str
    is_int: str
    digits: str


def is_exact_double(number: float) -> bool:
    """Comparing nearest doubles with `number` gives the exact answer."""
    return abs(number) < _EXACT  # false for NaN too


def number_sql(column: NumberColumn, op: NumberOp, number: float) -> Sql:
    """`column op number`. NULL where the column is; NaN on either side compares to nothing."""
    if number != number:  # NaN; math.isnan cannot take the largest integers
        return FALSE
    if is_exact_double(number):
        return _double_sql(column.double, op, float(number))
    whole = _integer_sql(column.digits, op, number)
    return sql("CASE WHEN {} THEN {} ELSE {} END", Sql(column.is_int), whole, _bounded_sql(column.double, op, number))


def _double_sql(column: str, op: NumberOp, number: float) -> Sql:
    guard = f" AND NOT isnan({column})" if op in (">", ">=") else ""  # DuckDB ranks NaN above every number
    return Sql(f"({column} {op} ?{guard})", (number,))


def _bounded_sql(column: str, op: NumberOp, number: float) -> Sql:
    """Doubles against a number that may lie between two doubles."""
    nearest = _nearest_double(number)
    if nearest == number:
        return _double_sql(column, op, nearest)
    if op == "=":
        return FALSE
    below = nearest < number
    if op in ("<", "<="):
        return _double_sql(column, "<=" if below else "<", nearest)
    return _double_sql(column, ">" if below else ">=", nearest)


def _integer_sql(digits: str, op: NumberOp, number: float) -> Sql:
    """Digits with an optional minus against a whole number beyond ±2^53, or an infinity."""
    if number in (math.inf, -math.inf):
        return TRUE if (op in ("<", "<=")) == (number > 0) and op != "=" else FALSE
    text = str(int(number))
    if op == "=":
        return sql("{} = ?", Sql(digits), text)
    negative = Sql(f"starts_with({digits}, '-')")
    order = op if number > 0 else _FLIPPED[op]  # among negatives the longer text is the smaller number
    longer = sql(f"(length({digits}), {digits}) {order} (?, ?)", len(text), text)
    same_sign = negative if number < 0 else sql("NOT {}", negative)
    if (op in (">", ">=")) == (number > 0):
        return all_sql([same_sign, longer])
    return any_sql([sql("NOT {}", same_sign), longer])


def _nearest_double(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
