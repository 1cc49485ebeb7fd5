"""`CreateCalls`: projects and runs that an `Api` makes before anybody logs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker.apis.public.people import find_viewer, read_people
from tracker.apis.public.run import Run
from tracker.query.projects import KIND_PROJECT
from tracker.sdk.identity import DEFAULT_PROJECT, check_entity, check_project
from tracker.storage.clock import wall_us
from tracker.storage.things import set_changes

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient

__all__ = ["CreateCalls"]


class CreateCalls:
    """Part of `Api`."""

    settings: dict[str, Any]

    if TYPE_CHECKING:

        @property
        def client(self) -> RetryingClient: ...
        @property
        def default_entity(self) -> str: ...

    def create_project(self, name: str, entity: str) -> None:
        """Afterwards there is such a project, though it may have no runs. One that was made before stays as it is.

        Raises:
            UsageError: no name for a project or an entity, or this Api shows a time gone by.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        client = self.client
        client.refuse_the_past()
        check_entity(entity)
        check_project(name)
        if name in client.things(entity, name, KIND_PROJECT, [name]):
            return
        by = find_viewer(client, read_people(client))["username"]
        tree = {"created_by": by, "created_at": wall_us()}
        client.change_thing(entity, name, KIND_PROJECT, name, set_changes(tree))

    def create_run(self, *, run_id: str | None = None, project: str | None = None, entity: str | None = None) -> Run:
        """Make a run in state running and return it; see `Run.create`."""
        return Run.create(
            self,  # type: ignore[arg-type]
            run_id=run_id,
            project=project or self.settings["project"] or DEFAULT_PROJECT,
            entity=entity or self.default_entity,
        )
