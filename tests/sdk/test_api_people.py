"""Users, teams, members and API keys as records of the root. Rules API-2, API-9, API-10, USER-1, TEAM-1."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from store_maker import made_run

from tracker.apis.public import Api, Member, Team, User
from tracker.apis.public.api_keys import key_facts, matches, new_key, shown_key
from tracker.apis.public.people import USER, change_person
from tracker.errors import CommError, Conflict, NotFound, StorageUnavailable, UsageError
from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.names import ENTITY_PROJECT
from tracker.storage.schema import read_events
from tracker.storage.stores import open_store
from tracker.storage.things import ThingWriter, set_changes
from tracker.storage.writer import CLOCK

S = 1_000_000


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    monkeypatch.setenv("TRACKER_USERNAME", "ann")
    return url


@pytest.fixture
def api(root: str) -> Api:
    return Api()


def everything(root: str) -> bytes:
    """All bytes of the root, and all values of its events: compression must not hide anything."""
    store = open_store(root)
    found = []
    for info in store.list(""):
        raw = store.get(info.key)
        found.append(info.key.encode() + raw)
        if info.key.endswith(".parquet"):
            found.append(repr(read_events(store.local_path(info.key), info.key)[1].to_pylist()).encode())
    return b"".join(found)


# who asks


def test_the_viewer_of_an_empty_root_is_who_runs_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-2, USER-1: local data, and nothing is written by asking."""
    monkeypatch.setenv("LOGNAME", "tester")
    viewer = Api({"base_url": str(tmp_path / "nowhere")}).viewer
    assert (viewer.username, viewer.name, viewer.email, viewer.admin) == ("tester", "tester", None, False)
    assert (viewer.api_keys, viewer.teams, viewer.created_at) == ([], [], None)
    assert repr(viewer) == "<User tester>"
    assert not (tmp_path / "nowhere").exists()
    monkeypatch.delenv("LOGNAME")
    monkeypatch.delenv("USER", raising=False)
    assert Api({"base_url": str(tmp_path / "nowhere")}).viewer.username == getpass.getuser()


def test_the_viewer_is_the_record_that_fits(root: str, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """By key, then by user name, then by e-mail."""
    bob = api.create_user("bob@x.org", admin=True)
    api.create_user("ann@x.org")
    key = bob.generate_api_key()
    assert api.viewer.email == "ann@x.org"
    assert api.viewer.username == "ann"
    assert Api(api_key=key).viewer.email == "bob@x.org"
    assert Api(api_key="0" * 40).viewer.email == "ann@x.org"
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert Api().viewer.admin is True
    assert Api().api_key == key
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("TRACKER_USERNAME", "root")
    assert Api().viewer.email is None
    monkeypatch.setenv("WANDB_USER_EMAIL", "BOB@x.org")
    assert Api().viewer.username == "bob"


def test_an_address_that_only_the_machine_knows_is_not_stored(
    root: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_USER_EMAIL", "private@home.example")
    viewer = api.viewer
    assert viewer.email == "private@home.example"
    viewer.generate_api_key()
    api.create_team("lab")
    api.create_project("p", "main")
    api.create_run(project="p")
    assert b"private" not in everything(root)
    assert api.user("ann").email is None


# users


def test_users_are_found_by_name_or_address(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-9, API-10: whatever the default entity is."""
    monkeypatch.setenv("TRACKER_USERNAME", "ann")
    api = Api({"base_url": store_url})
    made = api.create_user("Cy.Lin@x.org")
    assert isinstance(made, User)
    assert (made.username, made.email, made.name, made.admin) == ("cy.lin", "Cy.Lin@x.org", "cy.lin", False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made.created_at)
    api.create_user("dee@y.org", admin=True)
    other = Api({"base_url": store_url, "entity": "another"})
    for name in ("cy.lin", "Cy.Lin@x.org", "cy.lin@X.ORG"):
        assert other.user(name).email == "Cy.Lin@x.org"
    assert other.user("cy") is None
    assert other.user("nobody@x.org") is None
    assert [user.username for user in other.users("LIN")] == ["cy.lin"]
    assert [user.username for user in other.users(".org")] == ["cy.lin", "dee"]
    assert other.users("zzz") == []
    assert other.user("dee").admin is True
    assert [user.username for user in other.users("ann")] == ["ann"], "who asks is known, recorded or not"


def test_differs_a_user_is_found_by_the_whole_name(api: Api) -> None:
    api.create_user("bobby@x.org")
    assert api.user("bob") is None
    assert [user.username for user in api.users("bob")] == ["bobby"]


def test_differs_records_of_people_grant_nothing(root: str, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches the store is served, member of the team or not."""
    api.create_team("lab")
    made_run(root, "r", entity="lab")
    monkeypatch.setenv("TRACKER_USERNAME", "stranger")
    run = Api().run("lab/p/r")
    run.notes = "told by nobody"
    run.update()
    assert Api().run("lab/p/r").notes == "told by nobody"
    assert Api().team("lab").invite("new@x.org") is True


def test_a_user_is_recorded_once_and_names_differ(api: Api) -> None:
    api.create_user("eve@x.org")
    for again in ("eve@x.org", "EVE@X.org"):
        with pytest.raises(Conflict, match="already"):
            api.create_user(again)
    assert api.create_user("eve@y.org").username == "eve-2"
    assert api.create_user("eve@z.org").username == "eve-3"
    for wrong in ("eve", "@x.org", "eve@", "e ve@x.org", ""):
        with pytest.raises(UsageError, match="no e-mail address"):
            api.create_user(wrong)


def test_of_several_of_one_name_the_oldest_is_returned_with_a_warning(
    root: str, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """API-9. Two that were recorded at the same time can have the same name."""
    clock = HybridClock()
    for address in ("first@x.org", "second@x.org"):
        writer = ThingWriter(open_store(root), "main", ENTITY_PROJECT, USER, address, clock=clock)
        writer.write(set_changes({"username": "twin", "email": address}))
    assert api.user("twin").email == "first@x.org"
    assert "2 users are called twin" in capsys.readouterr().err


def test_a_record_without_a_name_is_nobody(root: str, api: Api) -> None:
    """Somebody changed a user who had been deleted."""
    change_person(api.client, USER, "gone", set_changes({"admin": True}))
    assert api.users("gone") == []


def test_fields_are_found_in_either_spelling_and_nothing_else_is(api: Api) -> None:
    """API-13."""
    user = api.viewer
    assert user.apiKeys == user.api_keys == []
    with pytest.raises(AttributeError, match="'User' object has no attribute 'nope'"):
        _ = user.nope


# API keys


def test_differs_a_key_is_returned_once_and_what_is_stored_cannot_be_used(root: str, api: Api) -> None:
    """USER-1. Only a salted hash, the last four characters, who and when."""
    user = api.create_user("bob@x.org")
    keys = [user.generate_api_key("laptop"), user.generate_api_key()]
    assert all(re.fullmatch("[0-9a-f]{40}", key) for key in keys)
    assert keys[0] != keys[1]
    for seen in (user, api.user("bob")):
        assert seen.api_keys == ["*" * 36 + key[-4:] for key in keys]
        first, second = seen.api_key_records
        assert (first["last4"], first["description"], first["created_by"]) == (keys[0][-4:], "laptop", "ann")
        assert abs(first["created_at"] - wall_us()) < 60_000_000
        assert second["description"] is None
    stored = everything(root)
    for key in keys:
        for part in (key, key[:20], key[10:36]):
            assert part.encode() not in stored
    assert matches(keys[0], user._keys[first["id"]])
    assert not matches(keys[1], user._keys[first["id"]])


def test_equal_keys_have_different_hashes() -> None:
    key = new_key()
    one, other = (key_facts(key, by="ann", now_us=1) for _ in range(2))
    assert one["sha256"] != other["sha256"]
    assert matches(key, one)
    assert matches(key, other)
    assert not matches(key, {"salt": one["salt"], "sha256": other["sha256"]})
    assert not matches(key, {})
    assert not matches("\ud800", one)
    assert shown_key({}) == "*" * 36


def test_a_key_is_deleted_by_itself_by_its_id_or_as_it_shows(api: Api) -> None:
    """USER-1."""
    user = api.create_user("bob@x.org")
    keys = [user.generate_api_key() for _ in range(3)]
    assert user.delete_api_key(keys[0]) is True
    assert user.delete_api_key(user.api_key_records[0]["id"]) is True
    assert user.delete_api_key(user.api_keys[0]) is True
    assert user.api_keys == api.user("bob").api_keys == []
    assert Api(api_key=keys[0]).viewer.username == "ann"
    for unknown in (keys[0], "", "nope"):
        with pytest.raises(ValueError, match="has no such API key") as failure:
            user.delete_api_key(unknown)
        assert isinstance(failure.value, CommError)


def test_keys_that_show_alike_are_told_apart(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    user = api.create_user("bob@x.org")
    keys = iter(["a" * 36 + "beef", "b" * 36 + "beef"])
    monkeypatch.setattr("tracker.apis.public.users.new_key", lambda: next(keys))
    first = user.generate_api_key()
    user.generate_api_key()
    with pytest.raises(ValueError, match="has 2 keys that show like this one"):
        user.delete_api_key("*" * 36 + "beef")
    user.delete_api_key(first)
    assert len(user.api_keys) == 1


def test_two_who_make_keys_at_once_keep_both(root: str, api: Api) -> None:
    one = api.create_user("bob@x.org")
    other = Api().user("bob")
    kept = {one.generate_api_key(), other.generate_api_key()}
    one.delete_api_key(other.generate_api_key())
    assert {key[-4:] for key in kept} == {shown[-4:] for shown in Api().user("bob").api_keys}


def test_somebody_of_whom_nothing_was_recorded_is_recorded_with_a_key(api: Api) -> None:
    key = api.viewer.generate_api_key()
    assert (api.viewer.api_keys, api.viewer.created_at is None) == (["*" * 36 + key[-4:]], False)
    assert [user.username for user in api.users("ann")] == ["ann"]


# teams


def test_a_team_has_who_made_it_as_administrator(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-9, API-10, TEAM-1."""
    monkeypatch.setenv("TRACKER_USERNAME", "ann")
    api = Api({"base_url": store_url})
    team = api.create_team("lab")
    assert isinstance(team, Team)
    (member,) = team.members
    assert isinstance(member, Member)
    assert (member.username, member.account_type, member.admin, member.api_key) == ("ann", "ADMIN", True, None)
    assert (repr(team), repr(member)) == ("<Team lab>", "<Member ann (ADMIN)>")
    api.create_user("bob@x.org")
    other = api.create_team("other lab", admin_username="bob")
    assert [(one.username, one.email) for one in other.members] == [("bob", "bob@x.org")]
    assert api.create_team("lab", admin_username="bob").members[0].username == "ann", "one that there is stays"
    assert (api.viewer.teams, api.user("bob").teams) == (["lab"], ["other lab"])
    assert api.team("lab").created_at == team.created_at


def test_a_team_that_nobody_knows_is_an_error_and_an_entity_with_runs_is_a_team(root: str, api: Api) -> None:
    with pytest.raises(ValueError, match="could not find team nobody") as failure:
        api.team("nobody")
    assert isinstance(failure.value, CommError | NotFound)
    made_run(root, "r", entity="Great Lab")
    team = api.team("Great Lab")
    assert (team.members, team.created_at) == ([], None)
    api.create_user("bob@x.org")
    assert team.invite("bob") is True
    assert [member.username for member in api.team("Great Lab").members] == ["bob"]


def test_members_are_invited_once_and_by_name_only_if_they_are_known(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """TEAM-1."""
    team = api.create_team("lab")
    bob = api.create_user("bob@x.org")
    assert team.invite("bob", admin=True) is True
    assert team.invite("bob@x.org") is False
    assert "is a member of lab already" in capsys.readouterr().err
    assert team.invite("stranger") is False
    assert "No user is called stranger" in capsys.readouterr().err
    assert team.invite("New@x.org") is True
    assert [(one.username, one.account_type, one.pending) for one in team.members] == [
        ("ann", "ADMIN", False),
        ("bob", "ADMIN", False),
        ("new@x.org", "MEMBER", True),
    ]
    api.create_user("new@x.org")
    assert [(one.username, one.pending) for one in api.team("lab").members][2] == ("new", False)
    assert bob.teams == ["lab"]


def test_two_who_invite_at_once_lose_nobody(api: Api) -> None:
    team = api.create_team("lab")
    same = Api().team("lab")
    assert team.invite("one@x.org")
    assert same.invite("two@x.org")
    assert [one.email for one in Api().team("lab").members][1:] == ["one@x.org", "two@x.org"]


def test_a_member_is_removed_once(api: Api) -> None:
    """TEAM-1."""
    team = api.create_team("lab")
    team.invite("one@x.org")
    member = team.members[1]
    assert member.delete() is True
    assert member.delete() is False
    assert [one.username for one in api.team("lab").members] == ["ann"]
    assert [one.username for one in team.members] == ["ann", "one@x.org"], "as of its last load"
    assert [one.username for one in team.load(force=True)["members"]] == ["ann"]


def test_a_service_account_has_a_key_that_is_shown_once(root: str, api: Api) -> None:
    """TEAM-1."""
    team = api.create_team("lab")
    account = team.create_service_account("nightly builds")
    assert (account.name, account.account_type, account.admin) == ("nightly builds", "SERVICE", False)
    assert re.fullmatch("[0-9a-f]{40}", account.api_key)
    assert [one.api_key for one in api.team("lab").members] == [None, None]
    assert account.api_key.encode() not in everything(root)
    assert account.delete() is True
    assert len(api.team("lab").members) == 1


def test_whoever_has_the_key_of_a_service_account_is_that_account(api: Api) -> None:
    account = api.create_team("lab").create_service_account("nightly builds")
    robot = Api({"entity": "lab"}, api_key=account.api_key)
    viewer = robot.viewer
    assert (viewer.username, viewer.teams, viewer.entity) == ("nightly builds", ["lab"], "lab")
    robot.create_user("new@x.org").generate_api_key()
    assert Api().user("new").api_key_records[0]["created_by"] == "nightly builds"
    account.delete()
    assert robot.viewer.username == "ann"


# several at once


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_eight_who_change_one_record_at_once_lose_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    """Each as a process of its own would: a writer that nobody else has."""
    url = request.getfixturevalue(f"{kind}_url")
    user = Api({"base_url": url}).create_user("bob@x.org")

    def work(number: int) -> None:
        writer = ThingWriter(open_store(url), "main", ENTITY_PROJECT, USER, user.id)
        for n in range(3):
            facts = key_facts(new_key(), by="ann", now_us=wall_us(), description=f"{number}.{n}")
            writer.write(set_changes({f"k{number}-{n}": facts}, ("api_keys",)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = {one["description"] for one in Api({"base_url": url}).user("bob").api_key_records}
    assert found == {f"{number}.{n}" for number in range(8) for n in range(3)}


def test_two_processes_that_invite_at_once_lose_nobody(root: str, api: Api) -> None:
    team = api.create_team("lab")
    code = "import sys, tracker; t = tracker.Api().team('lab'); [t.invite(f'{sys.argv[1]}{n}@x.org') for n in range(5)]"
    processes = [subprocess.Popen([sys.executable, "-c", code, name], env=os.environ) for name in ("one", "two")]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    members = {member.email for member in team.load(force=True)["members"]} - {None}
    assert members == {f"{name}{n}@x.org" for name in ("one", "two") for n in range(5)}


def test_a_clock_that_was_ahead_does_not_keep_its_changes_from_being_taken_back(
    root: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is older than what is written next, whatever the clocks say."""
    monkeypatch.setattr(CLOCK, "last_us", CLOCK.last_us)  # the other tests' stamps are not ahead

    def wall() -> int:
        return wall_us() + 3600 * S

    ahead = ThingWriter(open_store(root), "main", ENTITY_PROJECT, USER, "bob@x.org", clock=HybridClock(), wall=wall)
    ahead.write(set_changes({"username": "bob", "api_keys": {"k": key_facts("x", by="bob", now_us=1)}}))
    user = Api().user("bob")
    assert user.delete_api_key("x") is True
    assert Api().user("bob").api_keys == []


# what cannot be


def test_the_past_shows_who_was_known_and_takes_no_changes(api: Api) -> None:
    user = api.create_user("bob@x.org")
    team = api.create_team("lab")
    before = wall_us() / 1e6
    user.generate_api_key()
    team.invite("one@x.org")
    past = Api(as_of=before)
    assert past.user("bob").api_keys == []
    assert len(past.team("lab").members) == 1
    for call in (
        lambda: past.create_user("x@x.org"),
        lambda: past.create_team("x"),
        lambda: past.user("bob").generate_api_key(),
        lambda: past.user("bob").delete_api_key("x"),
        lambda: past.team("lab").invite("x@x.org"),
        lambda: past.team("lab").create_service_account("x"),
        lambda: past.team("lab").members[0].delete(),
    ):
        with pytest.raises(UsageError, match="past"):
            call()


def test_a_name_that_is_none_of_an_entity_is_refused(api: Api) -> None:
    with pytest.raises(UsageError):
        api.create_team("a/b")


def test_a_store_that_is_away_changes_nothing_and_says_so(s3_faults: Any) -> None:
    api = Api({"base_url": s3_faults.url}, timeout=1)
    user = api.create_user("bob@x.org")
    s3_faults.proxy.set_faults({"mode": "err_before", "status": 503, "method": "PUT"})
    with pytest.raises(StorageUnavailable):
        user.generate_api_key()
    s3_faults.proxy.set_faults()
    assert Api({"base_url": s3_faults.url}).user("bob").api_keys == []


def test_people_of_two_roots_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_USERNAME", "ann")
    places = [str(tmp_path / name) for name in ("one", "two")]
    for place, address in zip(places, ("bob@x.org", "cy@x.org"), strict=True):
        Api({"base_url": place}).create_user(address)
    both = Api(roots=places)
    assert [user.username for user in both.users("x.org")] == ["bob", "cy"]
    both.user("cy").generate_api_key()
    assert len(Api({"base_url": places[1]}).user("cy").api_keys) == 1, "a change goes where the record is"
