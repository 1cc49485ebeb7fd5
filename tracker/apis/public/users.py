"""Users: records that people are found by, and their API keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracker.apis.public.api_keys import key_facts, matches, new_key, shown_key
from tracker.apis.public.attrs import Attrs
from tracker.apis.public.failures import CommValueError
from tracker.apis.public.people import (
    USER,
    change_person,
    find_viewer,
    read_people,
    read_teams,
    same_person,
)
from tracker.errors import Conflict, UsageError
from tracker.storage.clock import wall_us
from tracker.storage.events import DELETED, join_path
from tracker.storage.names import new_ulid
from tracker.storage.things import Change, set_changes

if TYPE_CHECKING:
    from tracker.apis.public.api import Api
    from tracker.apis.public.client import RetryingClient

__all__ = ["User"]


class User(Attrs):
    """A user as the root records one; or who runs this process, as far as the machine and its settings know.

    `id`, `username`, `name`, `email` (None where none was given), `admin`, `created_at` (None where nothing is
    recorded), `entity` (of `Api.viewer` the owner of paths that name none, else None). A record grants nothing: access
    is what the store's credentials give.
    """

    id: str
    username: str
    name: str
    email: str | None
    admin: bool
    created_at: str | None
    entity: str | None

    def __init__(self, client: RetryingClient, attrs: Mapping[str, Any]) -> None:
        """`attrs`: as `people.user_attrs` and `people.local_user` tell them."""
        self.client = client
        self.entity = attrs.get("entity")
        self._show(attrs)

    @classmethod
    def create(cls, api: Api, email: str, admin: bool = False) -> User:
        """Record a user with this e-mail address; the user name is what stands before the `@`.

        Raises:
            UsageError: no e-mail address, or this Api shows a time gone by.
            Conflict: there is such a user.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        client = api.client
        client.refuse_the_past()
        email = str(email).strip()
        local, at, domain = email.partition("@")
        if not (local and at and domain) or any(char.isspace() for char in email):
            raise UsageError(f"{email!r} is no e-mail address. Write name@domain.")
        people = read_people(client)
        if any(same_person(user, email) for user in people.values()):
            raise Conflict(f"There is a user {email} already. Find it with Api.user({email!r}).")
        username = _free_name(local.casefold(), {user["username"] for user in people.values()})
        by = find_viewer(client, people)["username"]
        user_id = email.casefold()
        tree = {"username": username, "email": email, "admin": bool(admin), **_made(by)}
        change_person(client, USER, user_id, set_changes(tree))
        return cls(client, read_people(client, [user_id])[user_id])

    @property
    def api_keys(self) -> list[str]:
        """The user's keys, oldest first: of each its last four characters behind stars, for no more is kept."""
        return [shown_key(facts) for facts in self._keys.values()]

    @property
    def api_key_records(self) -> list[dict[str, Any]]:
        """What is kept of each key beside its hash: `id`, `last4`, `description`, `created_by`, `created_at` (us)."""
        fields = ("last4", "description", "created_by", "created_at")
        return [{"id": one, **{name: facts.get(name) for name in fields}} for one, facts in self._keys.items()]

    @property
    def teams(self) -> list[str]:
        """Names of the teams that the user is a member of. Read anew each time."""
        found = read_teams(self.client)
        return [name for name, team in found.items() if self.id in (team.get("members") or {})]

    def generate_api_key(self, description: str | None = None) -> str:
        """Make a key and return it: this once, for the store keeps a salted hash, its last four characters, who made it
        and when.

        Somebody of whom nothing was recorded is recorded with it, by user name alone.

        Raises:
            UsageError: this Api shows a time gone by.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        self.client.refuse_the_past()
        people = read_people(self.client)
        by = find_viewer(self.client, people)["username"]
        key, now_us = new_key(), wall_us()
        facts = key_facts(key, by=by, now_us=now_us, description=description)
        changes: list[Change] = set_changes({new_ulid(now_us): facts}, ("api_keys",))
        if self.id not in people:
            changes += set_changes({"username": self.username, **_made(by)})
        change_person(self.client, USER, self.id, changes)
        self._reload()
        return key

    def delete_api_key(self, api_key: str) -> bool:
        """Forget a key: the key itself, its id, or what `api_keys` shows of it. True: it is gone.

        Raises:
            ValueError (a CommError): the user has no such key, or what is shown fits several.
            UsageError: this Api shows a time gone by.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        self.client.refuse_the_past()
        self._reload()
        found = [one for one, facts in self._keys.items() if one == api_key or matches(api_key, facts)]
        found = found or [one for one, facts in self._keys.items() if shown_key(facts) == api_key]
        if len(found) != 1:
            what = f"has {len(found)} keys that show like this one" if found else "has no such API key"
            text = f"{self.username} {what}. Name it by its id: User.api_key_records lists them."
            raise CommValueError(text, ValueError(text))
        change_person(self.client, USER, self.id, [(join_path(("api_keys", found[0])), DELETED)])
        self._reload()
        return True

    def _reload(self) -> None:
        found = read_people(self.client, [self.id])
        if self.id in found:
            self._show(found[self.id])

    def _show(self, attrs: Mapping[str, Any]) -> None:
        self.id, self.username, self.name = attrs["id"], attrs["username"], attrs["name"]
        self.email, self.admin, self.created_at = attrs["email"], attrs["admin"], attrs["created_at"]
        self._keys: dict[str, dict[str, Any]] = dict(attrs["keys"])

    @property
    def url(self) -> str:
        """Where the root is: a user has no page."""
        return self.client.url_of("")

    def __repr__(self) -> str:
        return f"<User {self.email or self.username}>"


def _made(by: str) -> dict[str, Any]:
    return {"created_by": by, "created_at": wall_us()}


def _free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or the first of `wanted-2`, `wanted-3`, ... that nobody has."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name
