"""What a project, a listing of projects and an Api show in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.failures import NoSuchProject
from tracker.apis.public.runs_view import runs_table_html

if TYPE_CHECKING:
    from tracker.apis.public.projects import Project, Projects

__all__ = ["ApiView", "project_page", "projects_page"]

_RUNS_MAX: Final = 10
_ROWS_MAX: Final = 200


def project_page(project: Project) -> str:
    """The newest 10 runs."""
    from tracker.apis.public.runs import Runs
    from tracker.sdk.html_page import counted, head, page, section

    runs = Runs(project.client, project.entity, project.name, order="-created_at", per_page=_RUNS_MAX)
    try:
        count = len(runs)
    except NoSuchProject:
        count = 0
    newest = runs[:_RUNS_MAX] if count else []
    body = head(f"{project.entity}/{project.name}", counted(count, "run"), project.url)
    return page(body + section("Newest runs", runs_table_html(newest) if newest else ""))


def projects_page(listing: Projects) -> str:
    """A line for each of the first 200 projects."""
    from tracker.sdk.html_page import cells_table, counted, head, page

    projects = list(listing)
    rows = [(project.name, project.url) for project in projects[:_ROWS_MAX]]
    found = counted(len(projects), "project", len(rows))
    table = cells_table(("project", "place"), rows) if rows else ""
    return page(head(listing.entity, found, listing.client.url_of("")) + table)


class ApiView:
    """What an Api shows: where it reads, and what is meant when a path names less. Nothing is fetched."""

    settings: dict[str, Any]

    if TYPE_CHECKING:
        as_of: Any

    def _repr_html_(self) -> str:
        from tracker.sdk.html_page import fields_table, framed, head, page

        known = {**self.settings, "as_of": self.as_of}
        fields = [(name, value) for name, value in known.items() if value is not None and name != "base_url"]
        return framed(page(head("Api", str(known["base_url"])) + fields_table(fields)), 160, False, "Api")
