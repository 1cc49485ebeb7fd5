"""Teams: who belongs together, and accounts of machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.api_keys import key_facts, new_key
from tracker.apis.public.attrs import Attrs
from tracker.apis.public.failures import NoSuchTeam
from tracker.apis.public.people import (
    TEAM,
    change_person,
    find_viewer,
    read_people,
    read_teams,
    same_person,
)
from tracker.errors import NotFound
from tracker.query.instants import iso_seconds
from tracker.sdk import term
from tracker.sdk.identity import check_entity
from tracker.storage.clock import wall_us
from tracker.storage.events import DELETED, join_path
from tracker.storage.names import encode_name, new_ulid
from tracker.storage.things import set_changes

if TYPE_CHECKING:
    from tracker.apis.public.api import Api
    from tracker.apis.public.client import RetryingClient

__all__ = ["Member", "Team"]

_MEMBER: Final = "MEMBER"
_ADMIN: Final = "ADMIN"
_SERVICE: Final = "SERVICE"


class Member(Attrs):
    """One member of a team: `id`, `username`, `name`, `email`, `account_type` (MEMBER, ADMIN or SERVICE), `admin`,
    `pending` (invited by an e-mail address that no user has), and `api_key`.

    `api_key` is the key of a service account right after it was made, for it is kept nowhere; else None.
    """

    id: str
    username: str
    name: str
    email: str | None
    account_type: str
    admin: bool
    pending: bool
    api_key: str | None

    def __init__(self, client: RetryingClient, team: str, attrs: Mapping[str, Any]) -> None:
        self.client = client
        self.team = team
        self.id, self.username, self.name = attrs["id"], attrs["username"], attrs["name"]
        self.email, self.account_type = attrs["email"], attrs["account_type"]
        self.admin = attrs["account_type"] == _ADMIN
        self.pending = bool(attrs["pending"])
        self.api_key = attrs.get("api_key")

    def delete(self) -> bool:
        """Remove the member from the team. False: it had been removed before.

        Raises:
            UsageError: this Api shows a time gone by.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        self.client.refuse_the_past()
        found = read_teams(self.client, [self.team]).get(self.team)
        if found is None or self.id not in (found.get("members") or {}):
            return False
        change_person(self.client, TEAM, self.team, [(join_path(("members", self.id)), DELETED)])
        return True

    @property
    def url(self) -> str:
        """Where the team's data lies."""
        return self.client.url_of(encode_name(self.team))

    def __repr__(self) -> str:
        return f"<Member {self.name} ({self.account_type})>"


class Team(Attrs):
    """An entity and who belongs to it. An entity that has projects and was never recorded is a team without members.

    A record grants nothing: access is what the store's credentials give.
    """

    def __init__(self, client: RetryingClient, name: str, attrs: Mapping[str, Any] | None = None) -> None:
        """The team `name`. `attrs` is what is known of it already; without it, it is loaded.

        Raises:
            ValueError (a CommError, NotFound): the root knows no such team.
        """
        self.client = client
        self.name = name
        self._attrs: dict[str, Any] = dict(attrs or {})
        self.load()

    @classmethod
    def create(cls, api: Api, team: str, admin_username: str | None = None) -> Team:
        """Record a team, with `admin_username` (None: who asks) as its administrator; one that there is, is returned.

        Raises:
            UsageError: no name for an entity, or this Api shows a time gone by.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        client = api.client
        client.refuse_the_past()
        check_entity(team)
        if team not in read_teams(client, [team]):
            people = read_people(client)
            viewer = find_viewer(client, people)
            admin = viewer["id"] if admin_username is None else _id_of(people, viewer, admin_username)
            members = {(admin or str(admin_username)): _membership(_ADMIN, viewer["username"])}
            tree = {"name": team, "created_by": viewer["username"], "created_at": wall_us(), "members": members}
            change_person(client, TEAM, team, set_changes(tree))
        return cls(client, team)

    def load(self, force: bool = False) -> dict[str, Any]:
        """What is recorded, read again when `force` is set: `id`, `name`, `created_at`, `members`.

        Raises:
            ValueError (a CommError, NotFound): the root knows no such team.
        """
        if force or not self._attrs:
            team = read_teams(self.client, [self.name]).get(self.name)
            if team is None and not self._has_projects():
                text = f"could not find team {self.name}. Make it with Api.create_team({self.name!r})"
                raise NoSuchTeam(text)
            people = read_people(self.client) if team is not None else {}
            kept = team.get("members") if team is not None else None
            members = kept if isinstance(kept, dict) else {}
            self._attrs = {
                "id": self.name,
                "name": self.name,
                "created_at": None if team is None else iso_seconds(team.created_us),
                "members": [
                    Member(self.client, self.name, _member_attrs(one, said, people.get(one)))
                    for one, said in sorted(members.items(), key=lambda item: (_added(item[1]), item[0]))
                    if isinstance(said, dict)
                ],
            }
        return self._attrs

    @property
    def id(self) -> str:
        """Its name."""
        return self.name

    @property
    def members(self) -> list[Member]:
        """In the order in which they came, as of the last `load`."""
        return list(self.load()["members"])

    @property
    def created_at(self) -> str | None:
        """ISO 8601, UTC; None where the team was never recorded."""
        found: str | None = self.load()["created_at"]
        return found

    def invite(self, username_or_email: str, admin: bool = False) -> bool:
        """Make somebody a member. An e-mail address that no user has becomes a pending member.

        False, with a warning: no user has that name, or it is a member already.

        Raises:
            UsageError: this Api shows a time gone by.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        self.client.refuse_the_past()
        people = read_people(self.client)
        viewer = find_viewer(self.client, people)
        member = _id_of(people, viewer, username_or_email)
        if member is None:
            term.warn(f"No user is called {username_or_email}. Record one with Api.create_user, or give an address.")
            return False
        self.load(force=True)
        if any(one.id == member for one in self.members):
            term.warn(f"{username_or_email} is a member of {self.name} already")
            return False
        self._add(member, _membership(_ADMIN if admin else _MEMBER, viewer["username"]))
        return True

    def create_service_account(self, description: str) -> Member:
        """Record an account for a machine; its key is in `api_key` of the returned member, this once.

        Raises: as `invite`.
        """
        self.client.refuse_the_past()
        by = find_viewer(self.client, read_people(self.client))["username"]
        self.load(force=True)
        key, now_us = new_key(), wall_us()
        account = f"service-{new_ulid(now_us)}"
        said = _membership(_SERVICE, by) | {"name": str(description), "key": key_facts(key, by=by, now_us=now_us)}
        self._add(account, said)
        (made,) = [one for one in self.members if one.id == account]
        made.api_key = key
        return made

    def _add(self, member: str, said: dict[str, Any]) -> None:
        changes = set_changes({member: said}, ("members",))
        if self.created_at is None:  # an entity that was never recorded
            changes += set_changes({"name": self.name, "created_by": said["added_by"], "created_at": wall_us()})
        change_person(self.client, TEAM, self.name, changes)
        self.load(force=True)

    def _has_projects(self) -> bool:
        try:
            return bool(self.client.store.list_dirs(f"{encode_name(self.name)}/"))
        except NotFound:  # no such root: nobody logged there yet
            return False

    @property
    def url(self) -> str:
        """Where the team's data lies."""
        return self.client.url_of(encode_name(self.name))

    def __repr__(self) -> str:
        return f"<Team {self.name}>"


def _id_of(people: Mapping[str, dict[str, Any]], viewer: Mapping[str, Any], username_or_email: str) -> str | None:
    """The id of that user; an address that none has stands for itself; None: nobody is called so."""
    for user in (*people.values(), viewer):
        if same_person(user, username_or_email):
            return str(user["id"])
    return username_or_email.casefold() if "@" in username_or_email else None


def _membership(account_type: str, by: str) -> dict[str, Any]:
    return {"account_type": account_type, "added_by": by, "added_at": wall_us()}


def _added(said: Any) -> int:
    found = said.get("added_at") if isinstance(said, dict) else None
    return found if isinstance(found, int) else 0


def _member_attrs(member: str, said: Mapping[str, Any], user: Mapping[str, Any] | None) -> dict[str, Any]:
    account = str(said.get("account_type") or _MEMBER)
    is_address = user is None and "@" in member
    return {
        "id": member,
        "username": user["username"] if user is not None else member,
        "name": user["name"] if user is not None else str(said.get("name") or member),
        "email": user["email"] if user is not None else member if is_address else None,
        "account_type": account,
        "pending": is_address,
    }
