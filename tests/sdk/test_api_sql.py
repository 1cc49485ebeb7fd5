"""`Api.sql`: the views of the command, over one project or several, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pytest
from store_maker import T0, made_run

from tracker.apis.public import Api
from tracker.errors import CommError, UsageError
from tracker.query import user_sql
from tracker.query.sql_projects import join_tables


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Projects main/p (r0, r1, r2), main/q (r0) and other/p (r0)."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    monkeypatch.setenv("TRACKER_PROJECT", "p")
    for n in range(3):
        rows = [{"acc": n / 10, "project": "mine"}, {"acc": n + 0.5}]
        made_run(url, f"r{n}", rows, config={"lr": n, "opt": "adam"}, start_us=T0 + n * 60_000_000)
    made_run(url, "r0", [{"acc": 7}], project="q", config={"lr": 0.5, "opt": 3})
    made_run(url, "r0", [{"loss": 1.0}], entity="other", config={"lr": True})
    return url


def rows(answer: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in answer.to_pylist()]


def test_a_statement_asks_the_default_project(root: str) -> None:
    answer = Api().sql('SELECT id, "config.lr" FROM runs ORDER BY id')
    assert isinstance(answer, pa.Table)
    assert rows(answer) == [("r0", 0), ("r1", 1), ("r2", 2)]
    history = Api().sql("SELECT run_id, max(acc) FROM history GROUP BY 1 ORDER BY 1")
    assert rows(history) == [("r0", 0.5), ("r1", 1.5), ("r2", 2.5)]
    told = Api().sql("SELECT DISTINCT run_id FROM facts WHERE kind = 'config' AND path = 'opt' ORDER BY 1")
    assert rows(told) == [("r0",), ("r1",), ("r2",)]


def test_filters_order_and_limit_choose_what_the_views_show(root: str) -> None:
    api = Api()
    assert rows(api.sql("SELECT id FROM runs", "main/p", {"config.lr": {"$gt": 0}})) == [("r1",), ("r2",)]
    newest = api.sql("SELECT DISTINCT run_id FROM history", order="-created_at", limit=1)
    assert rows(newest) == [("r2",)]
    both = api.sql("SELECT project, id FROM runs", ["p", "q"], {"summary_metrics.acc": {"$gte": 1}}, limit=1)
    assert rows(both) == [("p", "r1"), ("q", "r0")]


def test_every_format_holds_the_same(root: str) -> None:
    api, statement = Api(), "SELECT id, duration FROM runs ORDER BY id"
    table = api.sql(statement)
    assert api.sql(statement, format="dicts") == table.to_pylist()
    assert api.sql(statement, format="polars").equals(polars.from_arrow(table))
    assert api.sql(statement, format="pandas").equals(table.to_pandas())
    with pytest.raises(CommError) as caught:
        api.sql(statement, format="x")  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)


def test_several_projects_are_named_by_a_list_or_a_pattern(root: str) -> None:
    api, statement = Api(), "SELECT entity, project, id FROM runs ORDER BY ALL"
    mine = [("main", "p", "r0"), ("main", "p", "r1"), ("main", "p", "r2"), ("main", "q", "r0")]
    assert rows(api.sql(statement, "main/*")) == mine
    assert rows(api.sql(statement, "*")) == mine
    assert rows(api.sql(statement, ["q", "main/q", "p"])) == mine
    assert rows(api.sql(statement, "*/p")) == [*mine[:3], ("other", "p", "r0")]
    assert rows(api.sql(statement, "*/*")) == [*mine, ("other", "p", "r0")]


def test_rows_of_every_view_say_which_project_they_are_of(root: str) -> None:
    api = Api()
    for view in ("history", "facts"):
        found = api.sql(f"SELECT DISTINCT entity, project, run_id FROM {view} ORDER BY ALL", "*/*")
        assert rows(found) == rows(api.sql("SELECT entity, project, id FROM runs ORDER BY ALL", "*/*"))
        alone = api.sql(f"SELECT DISTINCT entity, project FROM {view}", "q")
        assert rows(alone) == [("main", "q")]
    for view in ("system", "console"):
        assert {"entity", "project"} <= set(api.sql(f"SELECT * FROM {view}", "*/*").column_names)
    joined = api.sql(
        'SELECT r.entity, r.project, r.id, max(h.acc) FROM runs r JOIN history h ON '
        "(h.entity, h.project, h.run_id) = (r.entity, r.project, r.id) WHERE acc IS NOT NULL GROUP BY ALL ORDER BY ALL",
        "main/*",
    )
    assert rows(joined)[-2:] == [("main", "p", "r2", 2.5), ("main", "q", "r0", 7.0)]


def test_a_metric_that_is_called_as_a_column_keeps_its_values(root: str) -> None:
    api = Api()
    (own,) = api.sql("SELECT count(project_1) AS n FROM history WHERE project = 'p'", "main/*").to_pylist()
    assert own == {"n": 3}
    alone = api.sql("SELECT DISTINCT entity, project FROM history ORDER BY ALL", "p")
    assert rows(alone) == [("main", "mine"), ("main", None)]
    assert "entity" not in api.sql('SELECT *, 1 AS "projection" FROM history', "p").column_names


def test_columns_whose_types_differ_between_projects_hold_both(root: str) -> None:
    answer = Api().sql('SELECT project, "config.lr" AS lr, "config.opt" AS opt FROM runs ORDER BY ALL', "main/*")
    assert answer.schema.field("lr").type == pa.float64()
    assert rows(answer) == [("p", 0.0, "adam"), ("p", 1.0, "adam"), ("p", 2.0, "adam"), ("q", 0.5, "3")]
    mixed = rows(Api().sql('SELECT DISTINCT "config.lr" FROM runs WHERE id = \'r0\' ORDER BY 1', "*/*"))
    assert mixed == [("0",), ("0.5",), ("true",)]


def test_tables_of_other_columns_and_types_become_one() -> None:
    one = pa.table({"a": [1, None], "b": ["x", "y"], "n": pa.nulls(2)})
    two = pa.table({"b": [True], "a": [0.5], "z": [[1, 2]]})
    joined = join_tables([one, two], ["z"])
    assert joined.to_pydict() == {
        "z": [None, None, [1, 2]],
        "a": [1.0, None, 0.5],
        "b": ["x", "y", "true"],
        "n": [None, None, None],
    }
    truth = [pa.table({"a": [True, None]}), pa.table({"a": [2]})]
    assert join_tables(truth, [])["a"].to_pylist() == ["true", None, "2"]
    assert join_tables(truth, [], truth_is_number=True)["a"].to_pylist() == [1.0, None, 2.0]


def test_what_is_not_there_or_not_allowed_is_refused(root: str) -> None:
    api = Api()
    for path in ("nothing", "main/no*", ["p", "nothing"]):
        with pytest.raises(ValueError, match=r"nothing|no\*"):
            api.sql("SELECT 1", path)
    for statement in ("DELETE FROM runs", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM elsewhere"):
        with pytest.raises(UsageError):
            api.sql(statement)
    with pytest.raises(ValueError, match="nosuch"):
        api.sql("SELECT 1", filters={"nosuch": 1})
    for wrong in ({"limit": 0}, {"path": []}):
        with pytest.raises(UsageError):
            api.sql("SELECT 1", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="stopped"):
        api.sql("SELECT count(*) FROM range(100000) a, range(100000) b, range(1000) c", timeout_s=0.2)


def test_the_limits_reach_the_statement(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def run(sql: str, views: Any, **limits: Any) -> pa.Table:
        given.update(limits)
        return pa.table({"n": [1]})

    monkeypatch.setattr(user_sql, "run_user_sql", run)
    Api().sql("SELECT 1", timeout_s=3, memory_limit=1 << 26)
    assert given == {"timeout_s": 3, "memory_limit": 1 << 26}


def test_the_past_is_asked_like_the_present(root: str) -> None:
    earlier = Api(as_of=(T0 + 90_000_000) / 1e6).sql("SELECT id FROM runs ORDER BY id")
    assert rows(earlier) == [("r0",), ("r1",)]
