"""Projects, as far as they can be told from their runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn
from urllib.parse import quote

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.project_view import ProjectsView, ProjectView
from tracker.apis.public.questions import PROJECTS
from tracker.errors import NotFound
from tracker.query.projects import find_projects
from tracker.storage.names import project_prefix

__all__ = ["NoLength", "Project", "Projects"]


class NoLength(ValueError, TypeError):
    """What `len` raises. It is a TypeError too, because `list` asks for a length and minds every other exception."""


class Project(ProjectView, Attrs):
    """A name under which runs are kept."""

    def __init__(self, client: RetryingClient, entity: str, project: str, attrs: Mapping[str, Any]) -> None:
        self.client = client
        self.entity = entity
        self.name = project
        self._attrs = dict(attrs)

    @property
    def id(self) -> str:
        """Where the project's data lies below the root."""
        return project_prefix(self.entity, self.name).rstrip("/")

    @property
    def path(self) -> list[str]:
        """Entity and name, each URL-quoted."""
        return [quote(self.entity), quote(self.name)]

    @property
    def url(self) -> str:
        """Where the project's data lies."""
        return self.client.url_of(project_prefix(self.entity, self.name))

    def __repr__(self) -> str:
        return f"<Project {self.entity}/{self.name}>"


class Projects(ProjectsView, Attrs):
    """The projects of an entity, by name, listed at the first use; their number is not known before the end."""

    QUERY: ClassVar[str] = PROJECTS

    def __init__(self, client: RetryingClient, entity: str, per_page: int | None = 50) -> None:
        self.client = client
        self.entity = entity
        self.per_page = per_page
        self.objects: list[Project] = []
        self.variables: dict[str, Any] = {"entity": entity}
        self._listed = False
        self._at = 0

    length = None

    @property
    def more(self) -> bool:
        """Whether there is anything left to list."""
        return not self._listed

    @property
    def cursor(self) -> str | None:
        """The name of the last listed project."""
        return self.objects[-1].name if self.objects else None

    @property
    def url(self) -> str:
        return self.client.url_of("")

    def update_variables(self) -> None:
        """Prepare the request for the following page."""
        self.variables.update({"perPage": self.per_page, "cursor": self.cursor})

    def convert_objects(self) -> list[Project]:
        """The projects that were listed."""
        return list(self.objects)

    def __len__(self) -> NoReturn:
        raise NoLength("The number of projects is not known before they are listed. Use len(list(projects)).")

    def __getitem__(self, index: int) -> Project:
        return self._all()[index]

    def __iter__(self) -> Iterator[Project]:
        """From the first project, each time."""
        self._at = 0
        for project in self._all():
            self._at += 1
            yield project

    def __next__(self) -> Project:
        if self._at >= len(self._all()):
            raise StopIteration
        self._at += 1
        return self.objects[self._at - 1]

    next = __next__

    def _all(self) -> list[Project]:
        if not self._listed:
            try:
                names = find_projects(self.client.store, self.entity)
            except NotFound:  # no such root: nobody logged there yet
                names = []
            self.objects = [Project(self.client, name.entity, name.project, {}) for name in names]
            self._listed = True
        return self.objects

    def __repr__(self) -> str:
        return f"<Projects {self.entity}>"
