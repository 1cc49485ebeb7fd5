"""Saved reports of a project, and one of them: its text, its sections, and the runs that a section shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, overload
from urllib.parse import quote

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import NoSuchProject
from tracker.apis.public.projects import Project
from tracker.apis.public.questions import REPORTS
from tracker.apis.public.report_view import report_page, reports_page
from tracker.apis.public.runs import Runs
from tracker.query.config_names import config_names
from tracker.query.instants import iso_micros
from tracker.query.reports import KIND_REPORT, PUBLISHED, ReportRecord, report_records
from tracker.query.run_sets import run_set_filter, run_set_order
from tracker.query.snapshot import Snapshot
from tracker.sdk import term

__all__ = ["BetaReport", "Reports", "read_reports"]

_GRID = "panel-grid"


class BetaReport(Attrs):
    """One saved report (REP-1)."""

    def __init__(
        self, client: RetryingClient, attrs: Mapping[str, Any], entity: str | None = None, project: str | None = None
    ) -> None:
        """`attrs`: `id`, `name`, `displayName`, `description`, `user`, `spec` (a dict, or its JSON), `createdAt`,
        `updatedAt` (ISO 8601); what is missing is empty.
        """
        self.client = client
        self.entity = entity
        self.project = project
        self._attrs = dict(attrs)
        spec = self._attrs.get("spec") or {}
        self._spec: dict[str, Any] = json.loads(spec) if isinstance(spec, str) else dict(spec)
        self._names: dict[tuple[str, str], frozenset[str]] = {}

    @classmethod
    def of(cls, client: RetryingClient, record: ReportRecord, entity: str, project: str) -> BetaReport:
        """The report that a record tells of."""
        attrs = {
            "id": record.id,
            "name": record.name,
            "displayName": record.display_name,
            "description": record.description,
            "user": record.user,
            "spec": record.spec,
            "createdAt": iso_micros(record.created_us),
            "updatedAt": iso_micros(record.updated_us),
        }
        return cls(client, attrs, entity, project)

    @property
    def id(self) -> str:
        return str(self._attrs.get("id") or "")

    @property
    def name(self) -> str:
        """Generated when the report was made; the title is `display_name`."""
        return str(self._attrs.get("name") or "")

    @property
    def display_name(self) -> str:
        return str(self._attrs.get("displayName") or "")

    @property
    def description(self) -> str:
        return str(self._attrs.get("description") or "")

    @property
    def user(self) -> str | None:
        """The name of who made it."""
        user = self._attrs.get("user")
        return None if user is None else str(user)

    @property
    def spec(self) -> dict[str, Any]:
        """What the report consists of, nested."""
        return self._spec

    @property
    def created_at(self) -> str | None:
        """ISO 8601, UTC."""
        return self._attrs.get("createdAt")

    @property
    def updated_at(self) -> str | None:
        """When it was saved last: ISO 8601, UTC."""
        return self._attrs.get("updatedAt")

    @property
    def sections(self) -> list[dict[str, Any]]:
        """Parts that show runs, in order: each has `runSets`, of which `openRunSet` counts."""
        if "panelGroups" in self._spec:
            return list(self._spec["panelGroups"])
        return [block.get("metadata") or {} for block in self._spec.get("blocks") or () if block.get("type") == _GRID]

    @property
    def url(self) -> str:
        """The address below the root: entity, project, `reports`, then title and id."""
        title = quote(self.display_name.replace(" ", "-"), safe="")
        place = f"{quote(str(self.entity), safe='')}/{quote(str(self.project), safe='')}"
        return f"{self.client.url_of('')}/{place}/reports/{title}--{self.id}"

    def runs(self, section: Mapping[str, Any], per_page: int = 50, only_selected: bool = True) -> Runs:
        """The runs that a section of this report shows, in its order; with `only_selected` those selected in it.

        The open run set counts, with its filters (also old-style strings), search and order; it may name a project
        of its own. Nothing but the names of config keys is fetched yet.

        Raises:
            ValueError: the section has no such run set, or its filters have no meaning.
        """
        run_sets = section.get("runSets") or []
        at = section.get("openRunSet") or 0
        if not isinstance(at, int) or not 0 <= at < len(run_sets):
            raise ValueError(f"The section has {len(run_sets)} run sets, and none at {at!r}.")
        run_set = run_sets[at]
        named = run_set.get("project") or {}
        entity = str(named.get("entityName") or self.entity)
        project = str(named.get("name") or self.project)

        def in_config(name: str) -> bool:
            return name in self._config_names(entity, project)

        filters = run_set_filter(run_set, in_config, only_selected=only_selected)
        order = run_set_order(run_set, in_config)
        return Runs(self.client, entity, project, filters, order, per_page)  # type: ignore[arg-type]  # a list as well

    def _config_names(self, entity: str, project: str) -> frozenset[str]:
        """Keys of the configs of that project's runs."""
        found = self._names.get((entity, project))
        if found is None:

            def again() -> Snapshot:
                return self.client.snapshot(entity, project)

            found = self._names[entity, project] = self.client.read(config_names, again(), again)
        return found

    def to_html(self, height: int = 1024, hidden: bool = False) -> str:
        """The report in a frame of `height` pixels; `hidden` folds it behind its name."""
        return super().to_html(height, hidden)

    def _page(self) -> str:
        return report_page(self)

    def __repr__(self) -> str:
        return f"<BetaReport {self.entity}/{self.project}/{self.display_name}>"


class Reports(Attrs):
    """The saved reports of a project, drafts left out, the one that was saved last first: listed at the first use."""

    QUERY: ClassVar[str] = REPORTS

    def __init__(
        self,
        client: RetryingClient,
        project: Project,
        name: str | None = None,
        entity: str | None = None,
        per_page: int | None = 50,
    ) -> None:
        """Nothing is fetched yet. `name`: only reports of this name or title. `per_page` has no effect: one listing
        tells all. `entity` stands for the project's.
        """
        self.client = client
        self.project = project
        self.name = name
        self.entity = entity or project.entity
        self.per_page = 50 if per_page is None else per_page
        self.objects: list[BetaReport] = []
        self.variables: dict[str, Any] = {"project": project.name, "entity": self.entity, "viewName": name}
        self._listed = False
        self._at = 0
        self.update_variables()

    @property
    def length(self) -> int | None:
        """How many there are; None before they were listed."""
        return len(self.objects) if self._listed else None

    @property
    def more(self) -> bool:
        """Whether there is anything left to list."""
        return not self._listed

    @property
    def cursor(self) -> str | None:
        """The id of the last listed report."""
        return self.objects[-1].id if self.objects else None

    @property
    def url(self) -> str:
        """Where the project's data lies."""
        return self.project.url

    def update_variables(self) -> None:
        """Prepare the request for the following page."""
        self.variables.update({"reportLimit": self.per_page, "reportCursor": self.cursor})

    def convert_objects(self) -> list[BetaReport]:
        """The reports that were listed."""
        return list(self.objects)

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> BetaReport: ...
    @overload
    def __getitem__(self, index: slice) -> list[BetaReport]: ...
    def __getitem__(self, index: int | slice) -> BetaReport | list[BetaReport]:
        return self._all()[index]

    def __iter__(self) -> Iterator[BetaReport]:
        """From the first report, each time; `next` goes on behind the last one that was given out."""
        self._at = 0
        for report in self._all():
            self._at += 1
            yield report

    def __next__(self) -> BetaReport:
        if self._at >= len(self._all()):
            raise StopIteration
        self._at += 1
        return self.objects[self._at - 1]

    next = __next__

    def _all(self) -> list[BetaReport]:
        """Raises NoSuchProject."""
        if not self._listed:
            place = self.entity, self.project.name
            found = read_reports(self.client, *place)
            if not found and not _has_project(self.client, *place):
                raise NoSuchProject(f"could not find project {'/'.join(place)} in {self.client.store.url}")
            shown = [record for record in found if record.type == PUBLISHED]
            if self.name is not None:
                shown = [record for record in shown if self.name in (record.name, record.display_name)]
            self.objects = [BetaReport.of(self.client, record, *place) for record in shown]
            self._listed = True
            self.update_variables()
        return self.objects

    def _page(self) -> str:
        return reports_page(self)

    def __repr__(self) -> str:
        return f"<Reports {self.entity}/{self.project.name}>"


def read_reports(client: RetryingClient, entity: str, project: str, ids: list[str] | None = None) -> list[ReportRecord]:
    """The reports of the project (or those among `ids`) as this client shows them, drafts too."""
    return report_records(client.things(entity, project, KIND_REPORT, ids), warn=term.warn)


def _has_project(client: RetryingClient, entity: str, project: str) -> bool:
    """Whether it has runs, or was made without any. Raises NoSuchProject where there is not even a root."""
    return bool(client.snapshot(entity, project).runs) or client.has_project(entity, project)
