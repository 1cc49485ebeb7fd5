"""`PeopleCalls`: what an `Api` knows of users and teams."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tracker.apis.public.people import find_viewer, matching, read_people, same_person
from tracker.apis.public.teams import Team
from tracker.apis.public.users import User
from tracker.sdk import term

if TYPE_CHECKING:
    from typing import Any

    from tracker.apis.public.client import RetryingClient

__all__ = ["PeopleCalls", "key_in_use"]


class PeopleCalls:
    """Part of `Api`. Users and teams are records of the root, the same whatever the default entity is."""

    if TYPE_CHECKING:

        @property
        def client(self) -> RetryingClient: ...
        @property
        def default_entity(self) -> str: ...

    @property
    def viewer(self) -> User:
        """Who asks: the user or service account whose key this Api has, else the record with the name that runs of this
        process would have, else who runs this process, of whom nothing is recorded. Read anew each time.
        """
        found = find_viewer(self.client, read_people(self.client))
        return User(self.client, found | {"entity": self.default_entity})

    def user(self, username_or_email: str) -> User | None:
        """The user with exactly this name or e-mail address; None: there is none. Of several the oldest, with a
        warning.
        """
        found = [User(self.client, one) for one in self._people().values() if same_person(one, username_or_email)]
        if len(found) > 1:
            term.warn(f"{len(found)} users are called {username_or_email}; the first one is returned")
        return next(iter(found), None)

    def users(self, username_or_email: str) -> list[User]:
        """All users with this in their name or e-mail address, capitals or not; oldest first."""
        return [User(self.client, one) for one in matching(self._people(), str(username_or_email))]

    def team(self, team: str) -> Team:
        """The team, or entity, of that name.

        Raises:
            ValueError (a CommError, NotFound): the root knows no such team.
        """
        return Team(self.client, team)

    def create_user(self, email: str, admin: bool = False) -> User:
        """Record a user. Raises as `User.create`."""
        return User.create(self, email, admin)  # type: ignore[arg-type]

    def create_team(self, team: str, admin_username: str | None = None) -> Team:
        """Record a team, or return the one that there is. Raises as `Team.create`."""
        return Team.create(self, team, admin_username)  # type: ignore[arg-type]

    def _people(self) -> dict[str, dict[str, Any]]:
        """Everybody who is recorded, and who asks."""
        people = read_people(self.client)
        viewer = find_viewer(self.client, people)
        return people if viewer["id"] in people else {**people, viewer["id"]: viewer}


def key_in_use(given: str | None) -> str | None:
    """The key that was passed, else the environment's. No store needs it; it only says who asks."""
    return given or os.environ.get("TRACKER_API_KEY") or os.environ.get("WANDB_API_KEY") or None
