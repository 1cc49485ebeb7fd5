"""Tests on one stored value (columns t, v, i, s) and, when it is a JSON list, on its elements.

Every function answers SQL that may be NULL where the value is missing; the caller closes it with IS TRUE.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

from tracker.query.errors import FilterError
from tracker.query.filter_tree import DictValue, Operand
from tracker.query.number_sql import NumberColumn, NumberOp, is_exact_double, number_sql
from tracker.query.sql_text import FALSE, Sql, all_sql, any_sql, is_in_sql, sql
from tracker.storage.events import Type

__all__ = ["DICT", "equals_sql", "identical_sql", "matches_sql", "ordered_sql", "sort_operands"]

DICT: Final = 7  # beside events.Type: the path holds leaves below it
_NESTED_VALUES_MAX: Final = 200
_ELEMENT: Final = NumberColumn("TRY_CAST(e AS DOUBLE)", "regexp_full_match(e, '[-0-9]+')", "e")
# 1 becomes 1.0 and -0.0 becomes 0.0; "1" keeps its quotes
_CANONICAL: Final = "coalesce((TRY_CAST(x AS DOUBLE) + 0)::VARCHAR, x)"


def equals_sql(cell: str, operands: Sequence[Operand], *, missing: Sql) -> Sql:
    """The value or one of its elements equals some operand. `missing`: what makes it null or missing, for None."""
    scalar = _scalars_equal(cell, operands) + ([missing] if None in operands else [])
    listed = _elements_equal(cell, operands)
    for operand in operands:
        if isinstance(operand, (tuple, DictValue)):
            listed += [_json_equal(f"{cell}.s", operand), _some_element(cell, _json_equal("e", operand))]
    return _by_type(cell, any_sql(scalar), any_sql(listed))


def ordered_sql(cell: str, op: NumberOp, operand: Operand) -> Sql:
    """The value or one of its elements is a number (string) ordered so against `operand`; other types never are."""
    match operand:
        case bool():
            return FALSE
        case int() | float():
            leaf = sql("{} AND {}", Sql(f"{cell}.t <= {Type.INT:d}"), number_sql(_leaf_number(cell), op, operand))
            return _by_type(cell, leaf, _some_text(cell, number_sql(_ELEMENT, op, operand)))
        case str():
            leaf = sql(f"{cell}.t = {Type.STRING:d} AND {cell}.s {op} ?", operand)
            return _by_type(cell, leaf, _some_string(cell, sql(f"json_extract_string(e, '$') {op} ?", operand)))
        case _:
            return FALSE


def matches_sql(cell: str, pattern: str) -> Sql:
    """The value or one of its elements is a string in which `pattern` is found."""
    leaf = sql(f"{cell}.t = {Type.STRING:d} AND regexp_matches({cell}.s, ?)", pattern)
    return _by_type(cell, leaf, _some_string(cell, sql("regexp_matches(json_extract_string(e, '$'), ?)", pattern)))


def identical_sql(cell: str, operand: Operand) -> Sql:
    """The value itself, no element of it, equals `operand`: a leaf of a dict that is compared whole."""
    match operand:
        case None:
            return Sql(f"{cell}.t = {Type.NULL:d}")
        case tuple() | DictValue():
            return sql("({} AND {})", Sql(f"{cell}.t = {Type.JSON:d}"), _json_equal(f"{cell}.s", operand))
        case _:
            return any_sql(_scalars_equal(cell, [operand]))


def _by_type(cell: str, scalar: Sql, listed: Sql) -> Sql:
    if listed == FALSE:
        return scalar
    return sql("CASE WHEN {} THEN {} ELSE {} END", Sql(f"{cell}.t = {Type.JSON:d}"), listed, scalar)


def _leaf_number(cell: str) -> NumberColumn:
    return NumberColumn(f"{cell}.v", f"{cell}.t = {Type.INT:d}", f"coalesce({cell}.i::VARCHAR, {cell}.s)")


def _scalars_equal(cell: str, operands: Sequence[Operand]) -> list[Sql]:
    tests = []
    near, far, texts = sort_operands(operands)
    if near:
        tests.append(sql(f"({cell}.t <= {Type.INT:d} AND {{}})", is_in_sql(f"{cell}.v", near, "DOUBLE")))
    for number in far:
        tests.append(sql(f"({cell}.t <= {Type.INT:d} AND {{}})", number_sql(_leaf_number(cell), "=", number)))
    if texts:
        tests.append(sql(f"({cell}.t = {Type.STRING:d} AND {{}})", is_in_sql(f"{cell}.s", texts, "VARCHAR")))
    tests += [Sql(f"({cell}.t = {Type.BOOL:d} AND {cell}.i = {flag:d})") for flag in _bools(operands)]
    return tests


def _elements_equal(cell: str, operands: Sequence[Operand]) -> list[Sql]:
    """Tests that an element of the list in `cell` equals one of the scalars in `operands`."""
    tests = []
    near, far, texts = sort_operands(operands)
    if near:
        numbers = f"TRY_CAST({_elements(cell)}::VARCHAR[] AS DOUBLE[])"  # NULL for each that is no number
        tests.append(Sql(f"list_has_any({numbers}, ?::DOUBLE[])", (near,)))
    tests += [_some_text(cell, number_sql(_ELEMENT, "=", number)) for number in far]
    if len(texts) == 1:
        tests.append(Sql(f"list_contains({_elements(cell)}, to_json(?::VARCHAR))", (texts[0],)))
    elif texts:
        wanted = "list_transform(?::VARCHAR[], lambda x: to_json(x))"
        tests.append(Sql(f"list_has_any({_elements(cell)}, {wanted})", (texts,)))
    names = [f"'{str(flag).lower()}'" for flag in _bools(operands)] + (["'null'"] if None in operands else [])
    if names:
        tests.append(Sql(f"list_has_any({_elements(cell)}, [{', '.join(names)}]::JSON[])"))
    return tests


def sort_operands(operands: Sequence[Operand]) -> tuple[list[float], list[float], list[str]]:
    """Numbers that compare as doubles, numbers that do not (NaN equals nothing: left out), strings."""
    numbers = [x for x in operands if isinstance(x, (int, float)) and not isinstance(x, bool) and x == x]
    near = [float(number) for number in numbers if is_exact_double(number)]
    far = [number for number in numbers if not is_exact_double(number)]
    return near, far, [text for text in operands if isinstance(text, str)]


def _bools(operands: Sequence[Operand]) -> list[bool]:
    return [flag for flag in (False, True) if any(operand is flag for operand in operands)]


def _elements(cell: str) -> str:
    """The elements of the JSON list in `cell`, as JSON[]; none for other JSON, NULL for what is no valid JSON."""
    return f"TRY(json_extract({cell}.s, '$[*]'))"


def _some_element(cell: str, test: Sql) -> Sql:
    """Some element, as JSON `e`, passes."""
    return sql("len(list_filter({}, lambda e: {})) > 0", Sql(_elements(cell)), test)


def _some_text(cell: str, test: Sql) -> Sql:
    """Some element, as its JSON text `e`, passes."""
    if test == FALSE:
        return FALSE
    return sql("len(list_filter({}, lambda e: {})) > 0", Sql(f"{_elements(cell)}::VARCHAR[]"), test)


def _some_string(cell: str, test: Sql) -> Sql:
    """Some element that is a string, as JSON `e`, passes."""
    return _some_element(cell, sql("json_type(e) = 'VARCHAR' AND {}", test))


def _json_equal(document: str, operand: tuple[Operand, ...] | DictValue) -> Sql:
    """The JSON in the SQL expression `document` is this list or dict; FALSE or NULL where it is no valid JSON."""
    if isinstance(operand, tuple) and all(_is_flat(item) for item in operand):
        elements = "list_transform(json_extract({}, '$[*]')::VARCHAR[], lambda x: {})"
        stored, wanted = elements.format(document, _CANONICAL), elements.format("?::JSON", _CANONICAL)
        return sql(f"TRY(json_type({document}) = 'ARRAY' AND {stored} = {wanted})", json.dumps(operand))
    tests: list[Sql] = []
    _json_tests(document, operand, "", tests.append)
    if len(tests) > 3 * _NESTED_VALUES_MAX:
        raise FilterError(f"A nested list or dict of more than {_NESTED_VALUES_MAX} values cannot be compared whole.")
    return sql("TRY({})", all_sql(tests))


def _is_flat(value: Operand) -> bool:
    """A scalar whose double decides equality (or that is no number)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return is_exact_double(value)
    return value is None or isinstance(value, (bool, str))


def _json_tests(document: str, operand: Operand, pointer: str, emit: Callable[[Sql], None]) -> None:
    def test(template: str, *values: object) -> None:
        emit(sql(template.replace("@", f"({document}, ?)"), *values))

    match operand:
        case None:
            test("json_type@ = 'NULL'", pointer)
        case bool():
            test("json_type@ = 'BOOLEAN'", pointer)
            test(f"json_extract_string@ = '{str(operand).lower()}'", pointer)
        case int() | float():
            emit(_json_number_equal(document, operand, pointer))
        case str():
            test("json_type@ = 'VARCHAR'", pointer)
            test("json_extract_string@ = ?", pointer, operand)
        case tuple():
            test("json_type@ = 'ARRAY'", pointer)
            test("json_array_length@ = ?", pointer, len(operand))
            for index, item in enumerate(operand):
                _json_tests(document, item, f"{pointer}/{index}", emit)
        case DictValue(items):
            test("json_type@ = 'OBJECT'", pointer)
            test("len(json_keys@) = ?", pointer, len(items))
            for key, item in items:
                _json_tests(document, item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", emit)
        case _:
            emit(FALSE)


def _json_number_equal(document: str, number: float, pointer: str) -> Sql:
    listed = sql(f"[json_extract({document}, ?)::VARCHAR]", pointer)
    test = number_sql(_ELEMENT, "=", number)
    return sql("len(list_filter({}, lambda e: {})) > 0", listed, test)
