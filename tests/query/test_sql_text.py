"""Pieces of SQL: templates take SQL of ours, question marks take values, nothing else goes in."""

from __future__ import annotations

import pytest

from tracker.query.sql_text import FALSE, TRUE, Sql, all_sql, any_sql, is_in_sql, sql


def test_pieces_and_values_keep_their_order() -> None:
    made = sql("{} OR x = ? OR {}", Sql("a = ?", (1,)), 2, Sql("b = ?", (3,)))
    assert made == Sql("a = ? OR x = ? OR b = ?", (1, 2, 3))


def test_text_never_becomes_sql() -> None:
    with pytest.raises(TypeError, match="Only SQL of ours"):
        sql("x = {}", "1; DROP TABLE runs")
    with pytest.raises(TypeError, match="without a place"):
        sql("x = 1", "left over")


def test_chains() -> None:
    assert (all_sql([]), any_sql([])) == (TRUE, FALSE)
    assert any_sql([Sql("a"), Sql("b")]) == Sql("(a OR b)")
    assert all_sql([Sql("a = ?", (1,))]) == Sql("a = ?", (1,))


@pytest.mark.parametrize(("count", "params"), [(1, 1), (8, 8), (9, 1), (5000, 1)])
def test_many_values_are_one_parameter(count: int, params: int) -> None:
    made = is_in_sql("c", list(range(count)), "BIGINT")
    assert len(made.params) == made.text.count("?") == params
