"""Which project, or which projects, a command means: options, else the environment, else what the store has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tracker.query.projects import ProjectName, find_projects
from tracker.storage.errors import NotFound, UsageError
from tracker.storage.port import Store

__all__ = ["choose_project", "choose_projects", "from_environment", "nothing_there", "opened_store"]

_LISTED_MAX: Final = 20


@contextmanager
def opened_store(url: str | Sequence[str] | None) -> Iterator[Store]:
    """The root that was named (several answer as one), else what a run would use; closed at the end."""
    from tracker.base_url import resolve_base_url
    from tracker.storage.stores import open_roots

    urls = [url] if url is None or isinstance(url, str) else url
    store = open_roots([resolve_base_url(one) for one in urls or [None]])
    try:
        yield store
    finally:
        store.close()


def choose_project(store: Store, project: str | None, entity: str | None) -> ProjectName:
    """The one that is named by options or environment; else the only one there is.

    Raises:
        NotFound: nothing to choose from.
        UsageError: several, and none named.
    """
    named = _named(project, entity)
    if all(named):
        return ProjectName(*map(str, named))
    match _matching(store, *named):
        case [only]:
            return only
        case several:
            raise UsageError(f"{store.url} has {len(several)} projects: {_listed(several)}. Choose one with --project.")


def choose_projects(store: Store, project: str | None, entity: str | None) -> list[ProjectName]:
    """All projects that options and environment leave, at least one; for the care of a store also the reserved one
    of an entity.

    Raises:
        NotFound: there is none.
    """
    return _matching(store, *_named(project, entity), reserved=True)


def nothing_there(
    store: Store, name: ProjectName, run_id: str | None, found: Sequence[ProjectName] | None = None
) -> NotFound:
    """The error for a project or run that is not there, with what is."""
    if run_id is not None:
        return NotFound(f'There is no run "{run_id}" in {name} of {store.url}. See: tracker runs list')
    others = find_projects(store) if found is None else found
    known = f" There are: {_listed(others)}." if others else " There are no runs in it at all."
    return NotFound(f"There is no project {name} in {store.url}.{known}")


def _named(project: str | None, entity: str | None) -> tuple[str | None, str | None]:
    """(entity, project)"""
    if project is not None and entity is None and "/" in project:
        entity, _, project = project.partition("/")
    return entity or from_environment("ENTITY"), project or from_environment("PROJECT")


def _matching(
    store: Store, entity: str | None, project: str | None, *, reserved: bool = False
) -> list[ProjectName]:
    found = find_projects(store, entity, reserved=reserved)
    if not project:
        if not found:
            raise NotFound(f"There are no runs in {store.url}. See where data goes with: tracker status")
        return found
    named = [name for name in found if name.project == project]
    if not named:
        raise nothing_there(store, ProjectName(entity or "main", project), None, None if entity else found)
    return named


def _listed(names: Sequence[ProjectName]) -> str:
    more = f" and {len(names) - _LISTED_MAX} more" if len(names) > _LISTED_MAX else ""
    return ", ".join(map(str, names[:_LISTED_MAX])) + more


def from_environment(name: str) -> str | None:
    """What TRACKER_<name>, else WANDB_<name>, says; None for nothing."""
    return os.environ.get(f"TRACKER_{name}") or os.environ.get(f"WANDB_{name}") or None
