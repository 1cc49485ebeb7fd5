"""What a collection of runs shows in a notebook: its first runs as a table, and their metrics in common charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.charts import charts_of
from tracker.apis.public.run_view import duration_text, shown_leaves, time_text
from tracker.errors import Error

if TYPE_CHECKING:
    from tracker.apis.public.run import Run
    from tracker.apis.public.runs import Runs
    from tracker.query.snapshot import Snapshot

__all__ = ["runs_page", "runs_table_html"]

_ROWS_MAX: Final = 25  # runs in the table
_DRAWN_MAX: Final = 10  # of them in the charts
_CHARTS_MAX: Final = 4
_COLUMNS_MAX: Final = 5  # each of config and summary


def runs_page(runs: Runs) -> str:
    """The first 25 runs, with at most 5 columns each of config and summary; 4 charts of the first 10.

    Raises:
        NoSuchProject: there is no such project.
    """
    from tracker.sdk.html_page import counted, head, page, section
    from tracker.sdk.svg_chart import COLORS

    first = runs[:_ROWS_MAX]
    count = len(runs)
    figures = _charts(runs, first[:_DRAWN_MAX])
    colors = COLORS[: min(len(first), _DRAWN_MAX)] if figures else ()
    found = counted(count, "run", len(first))
    body = head(repr(runs).strip("<>").removeprefix("Runs "), found, runs.url)
    body += figures + section("Runs", runs_table_html(first, colors) if first else "")
    return page(body)


def _charts(runs: Runs, drawn: list[Run]) -> str:
    from tracker.sdk.html_page import escaped, section

    names = [(run.id, run.name) for run in drawn]

    def opened() -> Snapshot:
        return runs.client.snapshot(runs.entity, runs.project)

    try:
        figures, _ = runs.client.read(
            lambda snapshot: charts_of(snapshot, names, charts_max=_CHARTS_MAX), opened(), opened
        )
    except Error as exc:
        return section("Charts", f"<p>{escaped(f'left out: {exc}')}</p>")
    return section("Charts", f"<div class=charts>{''.join(figures)}</div>" if figures else "")


def runs_table_html(runs: list[Run], colors: tuple[str, ...] = ()) -> str:
    """One line a run: name, id, state, times, tags; config that is not the same in all of them; and the summary."""
    from tracker.sdk.html_page import cells_table

    configs = [dict(shown_leaves(run.config)) for run in runs]
    summaries = [dict(shown_leaves(run.summary._json_dict)) for run in runs]
    of_config = [key for key in _keys(configs) if len({repr(tree.get(key)) for tree in configs}) > 1 or len(runs) == 1]
    of_summary = [key for key in _keys(summaries) if any(_plain(tree.get(key)) for tree in summaries)]
    of_config, of_summary = of_config[:_COLUMNS_MAX], of_summary[:_COLUMNS_MAX]
    rows = [
        (
            run.name,
            run.id,
            run.state,
            time_text(run.created_at),
            duration_text(run.duration),
            ", ".join(run.tags) or None,
            *(config.get(key) for key in of_config),
            *(summary.get(key) for key in of_summary),
        )
        for run, config, summary in zip(runs, configs, summaries, strict=True)
    ]
    titles = [f"config.{key}" if key in of_summary else key for key in of_config]
    return cells_table(("name", "id", "state", "created", "duration", "tags", *titles, *of_summary), rows, colors)


def _keys(trees: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for tree in trees for key in tree))


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))
