"""Projects by pattern: `*` in an entity or a project stands for any text."""

from __future__ import annotations

import re
from typing import Final

from tracker.query.projects import ProjectName, find_projects
from tracker.storage.port import Store

__all__ = ["ANY", "projects_like"]

ANY: Final = "*"


def projects_like(store: Store, entity: str, project: str) -> list[ProjectName]:
    """Those that both patterns fit, by name. Names without `*` in them are that project, there or not.

    Raises:
        NotFound: the root itself is missing. StorageUnavailable, CredentialsMissing: as the store.
    """
    if ANY not in entity and ANY not in project:
        return [ProjectName(entity, project)]
    found = find_projects(store, None if ANY in entity else entity)
    return [name for name in found if _fits(name.entity, entity) and _fits(name.project, project)]


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split(ANY))), name, re.DOTALL) is not None
