"""What a run shows in a notebook: what it is, charts of its metrics, its summary and its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.charts import charts_of
from tracker.errors import Error
from tracker.storage.events import KIND_METRIC, flatten, path_text
from tracker.storage.metric_rules import MetricRules

if TYPE_CHECKING:
    from tracker.apis.public.run import Run
    from tracker.query.snapshot import Snapshot

__all__ = ["duration_text", "run_page", "shown_leaves", "time_text"]

_CHARTS_MAX: Final = 12
_LEAVES_MAX: Final = 200


def run_page(run: Run) -> str:
    """At most 12 charts and 200 values each of summary and config. What of the history cannot be read is left
    out, and said.
    """
    from tracker.sdk.html_page import fields_table, head, page, section
    from tracker.sdk.run_html import summary_table

    body = head(
        run.name,
        f"{run.entity}/{run.project}/{run.id} · {run.state}",
        run.url,
        str(run.notes or ""),
        tags=run.tags,
    )
    facts = {
        "created": time_text(run.created_at),
        "duration": duration_text(run.duration),
        "user": run.username,
        "host": run.host,
        "group": run.group,
        "job type": run.job_type,
        "commit": run.commit,
    }
    summary, config = shown_leaves(run.summary._json_dict), shown_leaves(run.config)
    tables = section("Run", fields_table([(name, value) for name, value in facts.items() if value]))
    tables += section("Summary", summary_table(summary[:_LEAVES_MAX]) + _rest(summary))
    tables += section("Config", fields_table(config[:_LEAVES_MAX]) + _rest(config))
    return page(f"{body}{_charts(run)}<div class=row>{tables}</div>")


def _charts(run: Run) -> str:
    from tracker.sdk.html_page import escaped, section

    rules = MetricRules.of_facts(run.load().live.get(KIND_METRIC, {}))

    def opened() -> Snapshot:
        return run.client.snapshot(run.entity, run.project, run.id)

    def read(snapshot: Snapshot) -> tuple[list[str], int]:
        return charts_of(snapshot, [(run.id, run.name)], charts_max=_CHARTS_MAX, rules=rules)

    try:
        figures, count = run.client.read(read, opened(), opened)
    except Error as exc:
        return section("Charts", f"<p>{escaped(f'left out: {exc}')}</p>")
    more = f"<p>{count - _CHARTS_MAX} more metrics: run.history()</p>" if count > _CHARTS_MAX else ""
    return section("Charts", f"<div class=charts>{''.join(figures)}</div>{more}" if figures else "")


def shown_leaves(tree: dict[str, Any]) -> list[tuple[str, Any]]:
    """Dotted names and values, by name, without what begins with an underscore."""
    shown = {key: value for key, value in tree.items() if not key.startswith("_")}
    return sorted(((path_text(path), value) for path, value in flatten(shown)), key=lambda leaf: leaf[0])


def time_text(iso: str) -> str:
    """`2026-11-23T02:11:59.123456Z` to `2026-11-23 02:11:59 UTC`."""
    return f"{iso[:19].replace('T', ' ')} UTC"


def duration_text(seconds: float) -> str:
    """3725.2 to `1h 2m 5s`; below a minute with a tenth."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m {rest}s" if hours else f"{minutes}m {rest}s"


def _rest(leaves: list[tuple[str, Any]]) -> str:
    return f"<p>and {len(leaves) - _LEAVES_MAX} more</p>" if len(leaves) > _LEAVES_MAX else ""
