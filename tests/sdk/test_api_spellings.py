"""API-13: every public object answers in snake_case and camelCase alike, and names what it does not have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_maker import MadeWriter

import tracker
from tracker.apis.public import Api, BetaReport, Team, User
from tracker.apis.public.attrs import Attrs
from tracker.apis.public.reports import Reports
from tracker.query.reports import KIND_REPORT
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store
from tracker.storage.things import set_changes, thing_writer


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    root = str(tmp_path_factory.mktemp("spellings") / "root")
    store = open_store(root)
    writer = MadeWriter(store, RunRef("e", "p", "r")).begin({"name": "n", "job_type": "train"}, {"lr": 1})
    writer.log({"loss": 1.0}).end()
    tree = {"name": "v", "display_name": "Title", "spec": "{}"}
    thing_writer(store, "e", "p", KIND_REPORT, "R").write(set_changes(tree))
    store.close()
    folder = Path(root).parent
    (folder / "f.txt").write_text("text")
    api = tracker.Api({"base_url": root, "entity": "e", "project": "p"})
    api.run("r").upload_file(str(folder / "f.txt"), root=str(folder))
    api.create_user("ada@example.com")
    api.create_team("crew", "ada")
    return api


def made_user(api: Api) -> User:
    (user,) = api.users("ada@example.com")
    return user


OBJECTS: dict[str, Callable[[Api], Any]] = {
    "Run": lambda api: api.run("r"),
    "Runs": lambda api: api.runs("p"),
    "File": lambda api: api.run("r").file("f.txt"),
    "Files": lambda api: api.run("r").files(),
    "Project": lambda api: api.project("p"),
    "Projects": lambda api: api.projects(),
    "BetaReport": lambda api: api.reports("p")[0],
    "Reports": lambda api: api.reports("p"),
    "User": made_user,
    "Team": lambda api: api.team("crew"),
    "Member": lambda api: api.team("crew").members[0],
}
_NOT_FIELDS = frozenset({"dir"})  # makes a folder


def fields(thing: Any) -> list[str]:
    """Names of what it holds: its own attributes and its class's properties, methods left out."""
    names = set(vars(thing)) | {name for name in dir(type(thing)) if isinstance(getattr(type(thing), name), property)}
    return sorted(name for name in names if not name.startswith("_") and name not in _NOT_FIELDS)


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


@pytest.mark.parametrize("kind", OBJECTS)
def test_fields_answer_in_either_spelling(kind: str, api: Api) -> None:
    thing = OBJECTS[kind](api)
    assert type(thing).__name__ == kind
    assert isinstance(thing, Attrs)
    found = fields(thing)
    assert found
    for name in found:
        for other in {camel(name), snake(name)} - {name}:
            assert repr(getattr(thing, other)) == repr(getattr(thing, name)), f"{name} and {other}"
    assert thing.snake_to_camel("display_name") == "displayName"


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_unknown_attribute_is_named_with_its_class(kind: str, api: Api) -> None:
    thing = OBJECTS[kind](api)
    for name in ("no_such_thing", "noSuchThing", "_private_thing"):
        with pytest.raises(AttributeError, match=rf"{kind}.*{name}"):
            getattr(thing, name)
        assert not hasattr(thing, name)
    with pytest.raises(TypeError):
        thing["name"]


@pytest.mark.parametrize("kind", OBJECTS)
def test_every_object_shows_itself(kind: str, api: Api) -> None:
    """In a frame without scripts, with its name; outside of a notebook `display` does nothing and says so."""
    thing = OBJECTS[kind](api)
    shown = thing.to_html()
    assert "<iframe" in shown
    assert "sandbox" in shown
    assert thing._repr_html_() == shown
    assert thing.to_html(100, True).startswith("<details>")
    assert thing.display() is False


def test_every_public_class_is_among_them() -> None:
    """A new class that people get objects of stands in OBJECTS."""
    from tracker.apis import public

    classes = {name for name in public.__all__ if issubclass(getattr(public, name), Attrs)}
    assert classes <= set(OBJECTS)
    assert {BetaReport.__name__, Reports.__name__, Team.__name__} <= set(OBJECTS)
