"""Projects: names under which runs are kept, with runs in them or made before they had any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, NoReturn, overload
from urllib.parse import quote

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import NoSuchProject
from tracker.apis.public.project_view import project_page, projects_page
from tracker.apis.public.questions import PROJECTS
from tracker.errors import NotFound
from tracker.query.instants import iso_seconds
from tracker.query.order import DEFAULT_ORDER, parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.projects import KIND_PROJECT, list_segments, name_projects
from tracker.query.runs import find_runs, load_runs
from tracker.storage.names import encode_name, project_prefix

__all__ = ["NoLength", "Project", "Projects"]

_PER_PAGE: Final = 50


class NoLength(ValueError, TypeError):
    """What `len` raises. It is a TypeError too, because `list` asks for a length and minds every other exception."""


class Project(Attrs):
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

    @property
    def created_at(self) -> str:
        """When it was made, or when its first run began: ISO 8601, UTC.

        Raises:
            ValueError (a CommError, NotFound): the root has no such project.
        """
        return iso_seconds(self._created_us())

    def _created_us(self) -> int:
        made = self.client.things(self.entity, self.name, KIND_PROJECT, [self.name]).get(self.name)
        if made is not None:
            return made.created_us
        snapshot = self.client.snapshot(self.entity, self.name)
        first = find_runs(snapshot, parse_filter(None), parse_order(DEFAULT_ORDER))[0][:1]
        for record in load_runs(snapshot, first):
            return record.created_at_us
        raise NoSuchProject(f"could not find project {self.entity}/{self.name} in {self.client.store.url}")

    def _page(self) -> str:
        return project_page(self)

    def __repr__(self) -> str:
        return f"<Project {self.entity}/{self.name}>"


class Projects(Attrs):
    """The projects of an entity, by name, looked at `per_page` at a time; their number is not known before the end."""

    QUERY: ClassVar[str] = PROJECTS

    def __init__(self, client: RetryingClient, entity: str, per_page: int | None = 50) -> None:
        self.client = client
        self.entity = entity
        self.per_page = max(int(per_page or _PER_PAGE), 1)
        self.objects: list[Project] = []  # loaded so far
        self.variables: dict[str, Any] = {"entity": entity}
        self._segments: list[str] | None = None  # below the entity, in order; not each is a project
        self._looked = 0  # at so many of them
        self._last_page: list[Project] = []
        self._at = 0  # of `next`
        self.update_variables()

    length = None

    @property
    def more(self) -> bool:
        """Whether there is anything left to list."""
        return self._segments is None or self._looked < len(self._segments)

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
        """The projects of the last loaded page."""
        return list(self._last_page)

    def __len__(self) -> NoReturn:
        raise NoLength("The number of projects is not known before they are listed. Use len(list(projects)).")

    @overload
    def __getitem__(self, index: int) -> Project: ...
    @overload
    def __getitem__(self, index: slice) -> list[Project]: ...
    def __getitem__(self, index: int | slice) -> Project | list[Project]:
        """By position, from the end too; a slice gives a list. Lists as far as needed.

        Raises:
            IndexError: beyond the end.
        """
        ends = (index.start, index.stop) if isinstance(index, slice) else (index, index)
        forward = all(end is not None and end >= 0 for end in ends) and not isinstance(index, slice)
        self._load(max(ends) + 1 if forward else None)
        return self.objects[index]

    def __iter__(self) -> Iterator[Project]:
        """From the first project, each time; `next` goes on behind the last one that was given out."""
        self._at = 0
        while True:
            self._load(self._at + 1)
            if self._at >= len(self.objects):
                return
            self._at += 1
            yield self.objects[self._at - 1]

    def __next__(self) -> Project:
        self._load(self._at + 1)
        if self._at >= len(self.objects):
            raise StopIteration
        self._at += 1
        return self.objects[self._at - 1]

    next = __next__

    def _load(self, count: int | None) -> None:
        """The first `count` projects are listed, or all of them."""
        while self.more and (count is None or len(self.objects) < count):
            self._next_page()

    def _next_page(self) -> None:
        store, top = self.client.store, encode_name(self.entity)
        if self._segments is None:
            try:
                self._segments = list_segments(store, top)
            except NotFound:  # no such root: nobody logged there yet
                self._segments = []
        page = self._segments[self._looked : self._looked + self.per_page]
        names = name_projects(store, [(top, middle) for middle in page])
        self._looked += len(page)
        self._last_page = [Project(self.client, self.entity, name.project, {}) for name in names]
        self.objects += self._last_page
        self.update_variables()

    def _all(self) -> list[Project]:
        self._load(None)
        return self.objects

    def _page(self) -> str:
        return projects_page(self)

    def __repr__(self) -> str:
        return f"<Projects {self.entity}>"
