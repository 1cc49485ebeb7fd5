"""What the definitions of metrics make of the summaries of simple packed runs, as SQL over their checkpoints.

The general form is `tracker.query.fold_metrics`. Here a run is one writer in one pack, so the figures of a key are
those of one record. They are taken as they are, unless anything else tells of the key: a summary value that was set on
it, above or below it, another key above or below it, or rows that are not plain. Such runs are for the general form.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow.compute as pc

from tracker.query.fold_metrics import pairs_around
from tracker.query.fold_sql import FoldNames
from tracker.query.packed import Packed, sql_text
from tracker.storage.derived import Record
from tracker.storage.events import HISTORY, JSON, KIND_METRIC, KIND_SUMMARY, Type, decode_cell
from tracker.storage.metric_rules import AUTOMATIC_KEYS, WHOLE_MAX, MetricRule, MetricRules

__all__ = ["PackedMetrics", "find_packed_metrics"]

_PAIRS_MAX: Final = 200_000  # of a set and a key: with more of them only those that occur are matched
_LISTED_MAX: Final = 200  # more keys than this are looked up in a table


@dataclass(frozen=True, slots=True)
class PackedMetrics:
    """Tables `names.metric_sets` (run, set_no) and `names.metric_asked` (set_no, key, part_key, source), in which
    `source` is least, most, mean, last, or null where the key is no part of the summary.
    """

    names: FoldNames
    keys: tuple[str, ...]  # that any set asks for
    partly: tuple[str, ...]  # of these those that some run may show as they are

    def points(self, columns: str, among: str) -> list[str]:
        """SELECTs of the last points of keys for which `among` is true, where no definition replaces them."""
        points = f"SELECT {columns} FROM {_series(self.names)} AND {among}"
        if not self.keys:
            return [points]
        selects = [f"{points} AND NOT {self._listed(self.keys)}"]
        if self.partly:
            selects.append(
                f"""SELECT {columns} FROM (FROM {_series(self.names)} AND {among} AND {self._listed(self.partly)}) e
                LEFT JOIN {self.names.metric_sets} USING (run)
                ANTI JOIN {self.names.metric_asked} USING (set_no, key)"""
            )
        return selects

    def parts(self) -> str:
        """SELECT of the leaves that stand for the last values: run, kind, key, t, v, i, s."""
        is_int = f"floats = 0 AND abs(number) <= {WHOLE_MAX}"
        nan = "'NaN'::DOUBLE"
        return f"""SELECT run, '{KIND_SUMMARY}' AS kind, part_key AS key,
            (CASE WHEN source = 'last' THEN t WHEN count = 0 THEN if(nan_count > 0, {Type.FLOAT:d}, {Type.NULL:d})
                WHEN source <> 'mean' AND {is_int} THEN {Type.INT:d} ELSE {Type.FLOAT:d} END)::TINYINT AS t,
            CASE WHEN source = 'last' THEN v WHEN count = 0 THEN if(nan_count > 0, {nan}, NULL)
                WHEN source = 'mean' AND nan_count > 0 THEN {nan} ELSE number END AS v,
            CASE WHEN source = 'last' THEN i WHEN count > 0 AND source <> 'mean' AND {is_int} THEN number::BIGINT END
                AS i,
            CASE WHEN source = 'last' THEN s END AS s
        FROM (
            SELECT e.run, a.part_key, a.source, e.t, e.v, e.i, e.s, e.nan_count, e.counts[{Type.FLOAT + 1}] AS floats,
                e.count - e.nan_count - e.other_count AS count,
                CASE a.source WHEN 'least' THEN e.min_v WHEN 'most' THEN e.max_v ELSE e.mean_v END AS number
            FROM (FROM {_series(self.names)}) e JOIN {self.names.metric_sets} m ON m.run = e.run
            JOIN {self.names.metric_asked} a ON a.set_no = m.set_no AND a.key = e.key
            WHERE a.source IS NOT NULL
        )"""

    def complex_runs(
        self, con: duckdb.DuckDBPyConnection, packed: Packed, by_hand: Sequence[str], logged: Sequence[str]
    ) -> frozenset[str]:
        """Runs whose records do not tell what the summary shows. The keys are those of all runs."""
        if not self.keys:
            return frozenset()
        names = self.names
        sources = [(pair, _by_hand(names)) for pair in pairs_around(self.keys, by_hand)]
        sources += [(pair, _series(names)) for pair in pairs_around(self.keys, logged) if pair[0] != pair[1]]
        found: set[str] = set()
        for source, group in itertools.groupby(sources, key=lambda one: one[1]):
            pairs = [pair for pair, _ in group]
            rows = con.execute(
                f"""WITH pairs AS (SELECT unnest(?::VARCHAR[]) AS key, unnest(?::VARCHAR[]) AS other)
                SELECT DISTINCT e.run FROM (SELECT run, key AS other FROM {source}) e
                JOIN {names.metric_sets} m ON m.run = e.run
                JOIN (SELECT DISTINCT set_no, other FROM {names.metric_asked} JOIN pairs USING (key)) p
                    ON p.set_no = m.set_no AND p.other = e.other""",
                [[key for key, _ in pairs], [other for _, other in pairs]],
            ).fetchall()
            found.update(run for (run,) in rows)
        return frozenset(found) | self._not_plain(con, packed)

    def _not_plain(self, con: duckdb.DuckDBPyConnection, packed: Packed) -> frozenset[str]:
        odd = packed.writers.filter(pc.invert(packed.writers["plain"]))["run"].to_pylist()
        if not odd:
            return frozenset()
        tracking = f"SELECT set_no FROM {self.names.metric_asked} WHERE source IS NOT NULL"
        rows = con.execute(
            f"""SELECT run FROM {self.names.metric_sets} WHERE set_no IN ({tracking})
            AND run IN (SELECT unnest(?::VARCHAR[]))""",
            [odd],
        ).fetchall()
        return frozenset(run for (run,) in rows)

    def _listed(self, keys: Sequence[str]) -> str:
        if len(keys) > _LISTED_MAX:
            return f"key IN (SELECT key FROM {self.names.metric_asked})"
        return f"key IN ({', '.join(map(sql_text, keys))})"


def find_packed_metrics(
    con: duckdb.DuckDBPyConnection, names: FoldNames, packed: Packed, keys: Sequence[str]
) -> PackedMetrics:
    """Make the tables, if any definition changes a summary. `keys`: of all series."""
    told = con.execute(f"SELECT key, s, count(*) FROM {_definitions(names)} GROUP BY key, s").fetchall()
    if not any('"summary"' in said for _, said, _ in told):
        return PackedMetrics(names, (), ())
    shared = [(key, said) for key, said, count in told if count == packed.held.num_rows]  # one at most in an extent
    rules = _make_sets(con, names, shared, [(key, said) for key, said, _ in told if (key, said) not in shared])
    pairs = [(number, key) for number in rules for key in keys] if len(rules) * len(keys) <= _PAIRS_MAX else None
    if pairs is None:
        series = f"(SELECT run, key FROM {_series(names)})"
        occur = f"SELECT DISTINCT set_no, key FROM {names.metric_sets} JOIN {series} USING (run)"
        pairs = con.execute(occur).fetchall()
    asked = [(number, key, *part) for number, key in pairs for part in _parts(rules[number].of(key), key)]
    columns = [list(column) for column in zip(*asked, strict=True)] if asked else [[], [], [], []]
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {names.metric_asked} AS SELECT unnest(?::BIGINT[]) AS set_no,
        unnest(?::VARCHAR[]) AS key, unnest(?::VARCHAR[]) AS part_key, unnest(?::VARCHAR[]) AS source""",
        columns,
    )
    sets_of: dict[str, set[int]] = {}
    for number, key, *_ in asked:
        sets_of.setdefault(key, set()).add(number)
    partly = sorted(key for key, sets in sets_of.items() if len(sets) < len(rules))
    return PackedMetrics(names, tuple(sorted(sets_of)), tuple(partly))


def _make_sets(
    con: duckdb.DuckDBPyConnection, names: FoldNames, shared: list[tuple[str, str]], told: list[tuple[str, str]]
) -> dict[int, MetricRules]:
    """Make the table of sets, with a row for each run; each set's rules. `shared`: definitions that hold in all runs.
    `told`: the others.
    """
    runs = f"SELECT DISTINCT run FROM {names.writer_states}"
    sets: list[list[int]] = [[]]
    make = f"CREATE OR REPLACE TEMP TABLE {names.metric_sets} AS"
    if not told:
        con.execute(f"{make} SELECT run, 0::BIGINT AS set_no FROM ({runs})")
    else:
        scratch = f"{names.metric_sets}_told"
        con.execute(
            f"""CREATE OR REPLACE TEMP TABLE {scratch} AS
            SELECT run, coalesce(numbers, []) AS numbers FROM ({runs}) LEFT JOIN (
                SELECT run, list_sort(list(no)) AS numbers FROM (SELECT run, key, s FROM {_definitions(names)})
                JOIN (SELECT unnest(?::VARCHAR[]) AS key, unnest(?::VARCHAR[]) AS s, unnest(?::INTEGER[]) AS no)
                    USING (key, s)
                GROUP BY run
            ) USING (run)""",
            [[path for path, _ in told], [said for _, said in told], list(range(len(told)))],
        )
        sets = [numbers for (numbers,) in con.execute(f"SELECT DISTINCT numbers FROM {scratch}").fetchall()]
        con.execute(
            f"""{make} SELECT run, set_no FROM {scratch}
            JOIN (SELECT unnest(?::INTEGER[][]) AS numbers, unnest(?::BIGINT[]) AS set_no) USING (numbers)""",
            [sets, list(range(len(sets)))],
        )
        con.execute(f"DROP TABLE {scratch}")
    rules = {}
    for number, numbers in enumerate(sets):
        said = [*shared, *(told[n] for n in numbers)]
        rules[number] = MetricRules.of_facts({path: decode_cell(JSON, None, None, text) for path, text in said})
    return rules


def _parts(rule: MetricRule | None, key: str) -> list[tuple[str | None, str | None]]:
    """(part_key, source) of what the summary shows instead of the key's last value."""
    if rule is None or key in AUTOMATIC_KEYS:
        return []
    if rule.drops:
        return [(None, None)]
    best = "most" if rule.goal == "maximize" else "least"
    sources = {"min": "least", "max": "most", "mean": "mean", "last": "last", "best": best}
    return [(f"{key}.{part}", sources[part]) for part in rule.parts]


def _series(names: FoldNames) -> str:
    return f"{names.events} WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}'"


def _by_hand(names: FoldNames) -> str:
    return f"{names.events} WHERE what = '{Record.FACT}' AND kind = '{KIND_SUMMARY}' AND subject IS NULL"


def _definitions(names: FoldNames) -> str:
    """Those that were not taken back."""
    return (
        f"{names.events} WHERE what = '{Record.FACT}' AND kind = '{KIND_METRIC}' AND subject IS NULL AND t = {JSON:d}"
    )
