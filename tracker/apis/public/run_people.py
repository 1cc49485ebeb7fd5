"""`PeopleCalls`: who made a public `Run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.apis.public.people import local_user, read_people
from tracker.apis.public.users import User

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.query.runs import RunRecord

__all__ = ["PeopleCalls"]


class PeopleCalls:
    """Part of `Run`, which loads the record."""

    client: RetryingClient

    if TYPE_CHECKING:

        @property
        def _loaded(self) -> RunRecord: ...

    @property
    def username(self) -> str | None:
        """The operating system's user that made the run, or who the settings said it was."""
        name = self._loaded.attrs.get("username")
        return None if name is None else str(name)

    @property
    def user(self) -> User | None:
        """Who made the run: the user that the root records under this name, else the name alone; None: it has none.

        The store is asked each time. Raises StorageUnavailable, CredentialsMissing.
        """
        username = self.username
        if username is None:
            return None
        recorded = [user for user in read_people(self.client).values() if user["username"] == username]
        return User(self.client, recorded[0] if recorded else local_user({"username": username}))
