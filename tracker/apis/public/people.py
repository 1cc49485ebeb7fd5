"""Who is known of a root: users and teams, as things of its entity space, and who asks.

There is no server that could check anybody: what people are recorded for is to be found by name, and access is what
the store's own credentials give. So the records stand in one place for the whole root, whatever the default entity is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.api_keys import matches
from tracker.query.instants import iso_seconds
from tracker.sdk.identity import DEFAULT_ENTITY
from tracker.sdk.places import config_dir
from tracker.sdk.settings_layers import from_environment, from_file, from_machine
from tracker.storage.names import ENTITY_PROJECT
from tracker.storage.things import Change

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.query.things import Thing

__all__ = [
    "TEAM",
    "USER",
    "change_person",
    "find_viewer",
    "local_user",
    "matching",
    "read_people",
    "read_teams",
    "same_person",
    "user_attrs",
]

USER: Final = "user"
TEAM: Final = "team"


def read_people(client: RetryingClient, ids: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Attributes (`user_attrs`) of every user that is recorded, by id; oldest first. One listing."""
    found = client.things(DEFAULT_ENTITY, ENTITY_PROJECT, USER, ids).values()
    users = [user_attrs(thing) for thing in found if isinstance(thing.get("username"), str)]
    return {user["id"]: user for user in sorted(users, key=lambda user: (user["created_us"], user["id"]))}


def read_teams(client: RetryingClient, ids: Sequence[str] | None = None) -> dict[str, Thing]:
    """Every team that is recorded, by name. One listing."""
    found = client.things(DEFAULT_ENTITY, ENTITY_PROJECT, TEAM, ids)
    return {name: team for name, team in found.items() if isinstance(team.get("name"), str)}


def change_person(client: RetryingClient, kind: str, thing_id: str, changes: Sequence[Change]) -> None:
    """Store changes of a user or team, which has been read before. Raises as `RetryingClient.change_thing`."""
    client.change_thing(DEFAULT_ENTITY, ENTITY_PROJECT, kind, thing_id, changes)


def user_attrs(thing: Thing) -> dict[str, Any]:
    """What a `User` shows of a record. `keys`: the facts of each API key by the key's id, oldest first."""
    value = thing.value
    kept = value.get("api_keys")
    keys = {one: facts for one, facts in kept.items() if isinstance(facts, dict)} if isinstance(kept, dict) else {}
    username = value["username"]
    return {
        "id": thing.id,
        "username": username,
        "name": value.get("name") or username,
        "email": value.get("email"),
        "admin": value.get("admin") is True,
        "created_us": thing.created_us,
        "created_at": iso_seconds(thing.created_us),
        "keys": dict(sorted(keys.items(), key=lambda one: (str(one[1].get("created_at", "")), one[0]))),
        "recorded": True,
    }


def local_user(known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Whoever runs this process, as its settings and the operating system tell; nothing of it is stored anywhere.

    `known`: settings by name; without it the settings file and the environment are read.
    """
    if known is None:
        known = from_file(config_dir() / "settings") | from_environment(os.environ)
    known = {name: known[name] for name in ("username", "email") if known.get(name)}
    username = str(known.get("username") or from_machine(known)["username"])
    return {
        "id": username,
        "username": username,
        "name": username,
        "email": known.get("email"),
        "admin": False,
        "created_us": None,
        "created_at": None,
        "keys": {},
        "recorded": False,
    }


def find_viewer(client: RetryingClient, people: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Who asks: the user (of `people`) or service account whose key the client has, else the user with the name or
    e-mail of whoever runs this process, else `local_user`.
    """
    me, api_key = local_user(), client.api_key
    if api_key:
        for user in people.values():
            if any(matches(api_key, facts) for facts in user["keys"].values()):
                return user
        for account in _service_accounts(client):
            if matches(api_key, account["key"]):
                return me | {"id": account["id"], "username": account["name"], "name": account["name"], "email": None}
    by_name = [user for user in people.values() if user["username"] == me["username"]]
    by_mail = [user for user in people.values() if me["email"] and same_person(user, me["email"])]
    return next(iter([*by_name, *by_mail]), me)


def same_person(user: Mapping[str, Any], username_or_email: str) -> bool:
    """Whether this is the user's name, or e-mail address (in which capitals make no difference)."""
    return username_or_email in (user["username"], user["id"]) or bool(
        user["email"] and user["email"].casefold() == username_or_email.casefold()
    )


def _service_accounts(client: RetryingClient) -> Iterator[dict[str, Any]]:
    """`id`, `name` and the facts of the `key` of each, in all teams. One listing."""
    for team in read_teams(client).values():
        members = team.get("members")
        for member, said in members.items() if isinstance(members, dict) else ():
            if isinstance(said, dict) and isinstance(said.get("key"), dict):
                yield {"id": member, "name": str(said.get("name") or member), "key": said["key"]}



def matching(people: Mapping[str, dict[str, Any]], part: str) -> Iterator[dict[str, Any]]:
    """Users with `part` in their name or e-mail, capitals or not."""
    wanted = part.casefold()
    for user in people.values():
        if any(wanted in str(user[field] or "").casefold() for field in ("username", "name", "email")):
            yield user
