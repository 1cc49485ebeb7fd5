"""What a run shows in a notebook: what it is, charts of its metrics, its summary and its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.charts import charts_of
from tracker.errors import Error
from tracker.storage.events import flatten, path_text

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.apis.public.summary_view import SummaryView
    from tracker.query.snapshot import Snapshot

__all__ = ["RunView", "duration_text", "shown_leaves", "time_text"]

_CHARTS_MAX: Final = 12
_LEAVES_MAX: Final = 200


class RunView:
    """The page of a Run."""

    id: str
    name: str
    state: str
    tags: list[str]
    notes: Any
    client: RetryingClient

    if TYPE_CHECKING:
        group: Any
        job_type: Any
        metrics: dict[str, dict[str, Any]]
        url: str
        created_at: str
        duration: float
        username: str | None
        host: str | None
        commit: str | None
        summary: SummaryView
        config: dict[str, Any]

        def _open(self) -> Snapshot: ...
        def _shown(self) -> str: ...

    def _page(self) -> str:
        """At most 12 charts and 200 values each of summary and config. What of the history cannot be read is left
        out, and said.
        """
        from tracker.sdk.html_page import fields_table, head, page, section
        from tracker.sdk.run_html import summary_table

        body = head(
            self.name,
            f"{self._shown()} · {self.state}",
            self.url,
            str(self.notes or ""),
            tags=self.tags,
        )
        facts = {
            "created": time_text(self.created_at),
            "duration": duration_text(self.duration),
            "user": self.username,
            "host": self.host,
            "group": self.group,
            "job type": self.job_type,
            "commit": self.commit,
        }
        summary, config = shown_leaves(self.summary._json_dict), shown_leaves(self.config)
        tables = section("Run", fields_table([(name, value) for name, value in facts.items() if value]))
        tables += section("Summary", summary_table(summary[:_LEAVES_MAX]) + _rest(summary))
        tables += section("Config", fields_table(config[:_LEAVES_MAX]) + _rest(config))
        return page(f"{body}{self._charts()}<div class=row>{tables}</div>")

    def _charts(self) -> str:
        from tracker.sdk.html_page import escaped, section

        hidden = [name for name, said in self.metrics.items() if said.get("hidden")]
        try:
            figures, count = self.client.read(
                lambda snapshot: charts_of(snapshot, [(self.id, self.name)], charts_max=_CHARTS_MAX, hidden=hidden),
                self._open(),
                self._open,
            )
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
