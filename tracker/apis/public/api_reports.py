"""`ReportCalls`: the saved reports that an `Api` finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.apis.public.projects import Project
from tracker.apis.public.reports import BetaReport, Reports, read_reports
from tracker.errors import Error

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient

__all__ = ["ReportCalls"]


class ReportCalls:
    """Part of `Api`, which knows paths and the store."""

    if TYPE_CHECKING:

        @property
        def client(self) -> RetryingClient: ...
        def _project_path(self, path: str | None) -> tuple[str, str]: ...

    def reports(self, path: str = "", name: str | None = None, per_page: int | None = 50) -> Reports:
        """The saved reports of a project (`project`, `entity/project`; without a path the default one), drafts left
        out, the one that was saved last first. `name`: only those of this name or title. Nothing is fetched yet.

        Where there is no such project, the first use raises a ValueError that names it.
        """
        entity, project = self._project_path(path)
        return Reports(self.client, Project(self.client, entity, project, {}), name=name, per_page=per_page)

    def _report(self, entity: str, project: str, name: str) -> BetaReport:
        """The report whose address ends in `name`: its title, `--` and its id, or its id alone; drafts too (API-6).

        Raises:
            Error: the project has no such report, or `name` has `-` but no `--`.
        """
        title, dashes, report_id = name.rpartition("--")
        if not dashes and "-" in title + report_id:
            raise Error(f"{name!r} names no report. Write the end of its address: the title, -- and its id.")
        found = read_reports(self.client, entity, project, [report_id])
        if not found:
            raise Error(f"could not find report {report_id!r} in {entity}/{project}")
        return BetaReport.of(self.client, found[0], entity, project)
