"""Filter and order to one DuckDB statement with bound parameters: no text of the caller ever stands in the SQL.

The statement reads two relations (tables, views or temporary tables) of visible runs:

    live(run, kind VARCHAR, key VARCHAR, t TINYINT, v DOUBLE, i BIGINT, s VARCHAR)
        folded facts that hold now, at most one row per (run, kind, key); kind `config`, `summary` (automatic and
        explicit merged) or `attr`; key is the stored (escaped) path; the value columns are those of an event.
    runs(run, state VARCHAR, created_at BIGINT us, heartbeat_at BIGINT us, duration DOUBLE s, entity, project)
        one row per run.

It answers (run, total BIGINT): the runs that match, in order, cut to limit and offset, and with each of them how many
match in all. Only the paths that the question names are touched; where `live` is sorted by (kind, key), only
their row groups are read.

    query = compile_query(parse_filter({"config.lr": {"$lt": 0.1}}), parse_order("-summary_metrics.acc"), limit=50)
    con.execute(query.sql, query.params).fetchall()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracker.query.cell_sql import DICT, equals_sql, identical_sql, matches_sql, ordered_sql, sort_operands
from tracker.query.errors import FilterError
from tracker.query.fields import bind_field
from tracker.query.filter_tree import (
    Compare,
    CompareOp,
    DictValue,
    Equals,
    Exists,
    Field,
    Filter,
    Instant,
    Matches,
    OneOf,
    Operand,
    visit,
)
from tracker.query.number_sql import NumberColumn, NumberOp, number_sql
from tracker.query.order import Order, OrderKey
from tracker.query.sql_text import FALSE, TRUE, Sql, all_sql, any_sql, is_in_sql, join_sql, sql
from tracker.storage.events import Type, join_path

__all__ = ["CompiledQuery", "compile_query"]

_FIELDS_MAX: Final = 100  # joins; DuckDB's planner takes seconds for twice as many
_CREATED_AT: Final = bind_field("created_at")
_INFIX: Final[dict[CompareOp, NumberOp]] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """One statement for `con.execute(sql, params)`; the rows are (run, total), in order."""

    sql: str
    params: list[object]
    paths: tuple[tuple[str, str], ...]  # (kind, key) of `live` that the statement looks at; it may look below them too


def compile_query(filter: Filter, order: Order, *, limit: int | None = None, offset: int = 0) -> CompiledQuery:
    """The statement for a page: `offset` runs skipped, at most `limit` returned (None: all).

    Raises:
        FilterError: too many fields, or an operand that is too large to be compared in one statement.
    """
    joins = _Joins()
    where = visit(filter, _CompileToDuckDB(joins))
    terms = [term for key in order.keys for term in _order_terms(key, joins)]
    if len(joins) > _FIELDS_MAX:
        raise FilterError(f"Filter and order name {len(joins)} fields; at most {_FIELDS_MAX} are allowed.")
    if all(key.field != _CREATED_AT for key in order.keys):
        terms.append(Sql("r.created_at NULLS LAST"))
    statement = sql(
        "SELECT r.run, count(*) OVER () AS total\nFROM runs r{}\nWHERE {}\nORDER BY {}, r.run",
        joins.text(),
        where,
        join_sql(", ", terms),
    )
    if limit is not None or offset:
        statement = sql("{}\nLIMIT ? OFFSET ?", statement, limit, offset)
    return CompiledQuery(statement.text, list(statement.params), joins.paths())


class _Joins:
    """Each field that is named joins `live` once, as p0, p1, ...; a field of `runs` is a column of r."""

    def __init__(self) -> None:
        self._aliases: dict[Field, str] = {}
        self._whole: set[Field] = set()

    def __len__(self) -> int:
        return len(self._aliases)

    def cell(self, field: Field, *, whole: bool = False) -> str:
        """The alias with the field's t, v, i, s; all NULL where it is missing.

        `whole`: t is DICT where the path holds leaves below it (else such a run looks as if the path were missing).
        """
        if whole and field.source != "attr":  # attributes are never nested
            self._whole.add(field)
        return self._aliases.setdefault(field, f"p{len(self._aliases)}")

    def text(self) -> Sql:
        return join_sql("", [self._join(field, alias) for field, alias in self._aliases.items()])

    def paths(self) -> tuple[tuple[str, str], ...]:
        return tuple((field.source, key) for field in self._aliases for key in field.keys)

    def _join(self, field: Field, alias: str) -> Sql:
        if len(field.keys) == 1 and field not in self._whole:
            on = f"{alias}.run = r.run AND {alias}.kind = '{field.source}' AND {alias}.key = ?"
            return Sql(f"\nLEFT JOIN live {alias} ON {on}", field.keys)
        return sql(f"\nLEFT JOIN ({{}}) {alias} ON {alias}.run = r.run", _first_present(field))


def _first_present(field: Field) -> Sql:
    """Per run the first of the field's keys that is there. Column k: 2n for key n as a leaf, 2n + 1 as a dict."""
    cases, bounds = [], []
    for n, key in enumerate(field.keys):
        cases.append(sql(f"WHEN key = ? THEN {2 * n} WHEN key >= ? AND key < ? THEN {2 * n + 1}", key, *_below(key)))
        bounds += [key, *_below(key)]
    bounds.sort(key=str.encode)
    rows = sql(
        f"SELECT run, CASE {{}} END AS k, if(k % 2 = 1, {DICT}, t) AS t, v, i, s FROM live "
        f"WHERE kind = '{field.source}' AND key >= ? AND key < ?",
        join_sql(" ", cases),
        bounds[0],
        bounds[-1],
    )
    first = ", ".join(f"arg_min_null({column}, k) AS {column}" for column in "tvis")
    return sql(f"SELECT run, min(k) AS k, {first} FROM ({{}}) WHERE k IS NOT NULL GROUP BY run", rows)


def _below(key: str) -> tuple[str, str]:
    """All longer paths lie between: from `key.` up to, not including, `key/` (the next character)."""
    return f"{key}.", f"{key}/"


@dataclass(frozen=True, slots=True)
class _CompileToDuckDB:
    """A FilterVisitor[Sql]; every Sql is TRUE or FALSE, never NULL, so NOT inverts exactly."""

    joins: _Joins

    def all_of(self, parts: list[Sql]) -> Sql:
        return all_sql(parts)

    def any_of(self, parts: list[Sql]) -> Sql:
        return any_sql(parts)

    def negate(self, part: Sql) -> Sql:
        return sql("NOT {}", part)

    def equals(self, node: Equals) -> Sql:
        return self._equals(node.field, (node.operand,))

    def one_of(self, node: OneOf) -> Sql:
        return self._equals(node.field, node.operands) if node.operands else FALSE

    def compare(self, node: Compare) -> Sql:
        field, op = node.field, _INFIX[node.op]
        if field.source == "run":
            return _is_true(_column_test(field, op, node.operand))
        return _is_true(ordered_sql(self.joins.cell(field), op, node.operand))

    def exists(self, node: Exists) -> Sql:
        match node.field.type:
            case "tags":
                return TRUE  # an untagged run has an empty list
            case "cell":
                return Sql(f"({self.joins.cell(node.field, whole=True)}.t IS NOT NULL)")
            case _:
                return Sql(f"({_column(node.field)} IS NOT NULL)")

    def matches(self, node: Matches) -> Sql:
        field = node.field
        match field.type:
            case "text":
                return _is_true(sql(f"regexp_matches({_column(field)}, ?)", node.pattern))
            case "state":
                return _is_true(sql(f"regexp_matches({_column(field)}, ?)", f"(?i){node.pattern}"))
            case "time" | "number":
                return FALSE
            case _:
                return _is_true(matches_sql(self.joins.cell(field), node.pattern))

    def _equals(self, field: Field, operands: tuple[Operand, ...]) -> Sql:
        if field.source == "run":
            return _is_true(any_sql(_column_equals(field, operands)))
        dicts = [operand for operand in operands if isinstance(operand, DictValue) and field.source != "attr"]
        cell = self.joins.cell(field, whole=bool(dicts) or None in operands)
        missing = f"({cell}.t IS NULL OR {cell}.t = {Type.NULL:d})"
        tests = [equals_sql(cell, operands, missing=Sql(missing))]
        tests += [self._holds_dict(field, cell, operand) for operand in dicts if operand.items]
        if field.type == "tags" and (None in operands or () in operands):
            tests.append(Sql(f"{missing} OR ({cell}.t = {Type.JSON:d} AND TRY(json_array_length({cell}.s)) = 0)"))
        return any_sql([_is_true(test) for test in tests])

    def _holds_dict(self, field: Field, cell: str, operand: DictValue) -> Sql:
        """The leaves below the field are exactly those of `operand`."""
        leaves = _leaves(operand, ())
        tests = []
        for n, key in enumerate(field.keys):
            same = [
                sql("(l.key = ? AND {})", f"{key}.{path}", identical_sql("l", value)) for path, value in leaves.items()
            ]
            holders = sql(
                f"SELECT l.run FROM live l WHERE l.kind = '{field.source}' AND l.key >= ? AND l.key < ? "
                "GROUP BY l.run HAVING count(*) = ? AND count(*) FILTER (WHERE {}) = ?",
                *_below(key),
                len(leaves),
                any_sql(same),
                len(leaves),
            )
            tests.append(sql(f"({cell}.k = {2 * n + 1} AND r.run IN ({{}}))", holders))
        return any_sql(tests)


def _leaves(tree: DictValue, above: tuple[str, ...]) -> dict[str, Operand]:
    """Stored path to value of each leaf, as `events.flatten` cuts nested dicts."""
    found: dict[str, Operand] = {}
    for key, value in tree.items:
        here = (*above, key)
        if isinstance(value, DictValue) and value.items and "_type" not in dict(value.items):
            found |= _leaves(value, here)
        else:
            found[join_path(here)] = value
    return found


def _is_true(test: Sql) -> Sql:
    return test if test in (TRUE, FALSE) else sql("({} IS TRUE)", Sql(f"({test.text})", test.params))


def _column(field: Field) -> str:
    return f"r.{field.keys[0]}"


def _column_equals(field: Field, operands: tuple[Operand, ...]) -> list[Sql]:
    column = _column(field)
    near, far, texts = sort_operands(operands)
    tests = [Sql(f"{column} IS NULL")] if None in operands else []
    if field.type in ("text", "state") and texts:
        tests.append(is_in_sql(column, texts, "VARCHAR"))
    if field.type == "number" and near:
        tests.append(is_in_sql(column, near, "DOUBLE"))
    if field.type == "number":
        tests += [_column_test(field, "=", number) for number in far]
    times = [operand.us for operand in operands if isinstance(operand, Instant)]
    if field.type == "time" and times:
        tests.append(is_in_sql(column, times, "BIGINT"))
    return tests


def _column_test(field: Field, op: NumberOp, operand: Operand) -> Sql:
    """A column of `runs`, whose type is known, against an operand of the same type; others never match."""
    column = _column(field)
    match operand:
        case str() if field.type in ("text", "state"):
            return sql(f"{column} {op} ?", operand)
        case Instant(us) if field.type == "time":
            return sql(f"{column} {op} ?", us)
        case int() | float() if field.type == "number" and not isinstance(operand, bool):
            return number_sql(NumberColumn(column, "FALSE", "''"), op, operand)
        case _:
            return FALSE


def _order_terms(key: OrderKey, joins: _Joins) -> list[Sql]:
    """ORDER BY terms: the rank of the type first, then the value inside each type."""
    end = f"{'DESC' if key.descending else 'ASC'} NULLS LAST"
    if key.field.type == "number":
        column = _column(key.field)
        return [Sql(f"CASE WHEN NOT isnan({column}) THEN {column} END {end}")]
    if key.field.source == "run":
        return [Sql(f"{_column(key.field)} {end}")]
    p = joins.cell(key.field)
    rank = (
        f"CASE WHEN {p}.t <= {Type.INT:d} AND NOT isnan({p}.v) THEN 0 WHEN {p}.t = {Type.STRING:d} THEN 1 "
        f"WHEN {p}.t = {Type.BOOL:d} THEN 2 ELSE 3 END"
    )
    digits = f"coalesce({p}.i, TRY_CAST({p}.s AS HUGEINT), TRY_CAST({p}.v AS HUGEINT))"
    exact = f"CASE WHEN abs({p}.v) >= {2**53} THEN {digits} END"  # where doubles no longer tell integers apart
    return [
        Sql(rank),
        Sql(f"CASE WHEN {p}.t <= {Type.BOOL:d} AND NOT isnan({p}.v) THEN {p}.v END {end}"),
        Sql(f"{exact} {end}"),
        Sql(f"CASE WHEN {p}.t = {Type.STRING:d} THEN {p}.s END {end}"),
    ]
