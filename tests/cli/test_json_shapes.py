"""docs/json.md has the shape of all JSON that commands print, and of what Python's `to_dict`s and their like hold.

A field that is new stands there too: run `RENEW=1 pytest tests/cli/test_json_shapes.py` and read the difference. One
that is gone or of another type breaks programs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer.main
from conftest import Tracker
from json_shapes import PAGE, documented, merged, shape_of, shape_text
from json_world import build_world

from tracker.apis.public import Api
from tracker.cli.app import app


@dataclass(frozen=True)
class Case:
    """What a command is called with (`{url}` and so on are filled in); its answers together have one shape."""

    calls: tuple[str, ...]
    maps: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)
    by: str = ""  # records of one kind each: the field that tells the kind
    empty: Mapping[str, Any] = field(default_factory=dict)  # what lists hold that are empty here


RUN_MAPS = ("config*", "summary*")
DIFF_MAPS = tuple(f"{name}.{side}*" for name in ("config", "summary", "metadata") for side in "ab")
DIFF_MAPS += ("metrics.first_a*", "metrics.first_b*")
CASES = {
    "tracker query --format json": Case(("query {url} {digits} --format json",), RUN_MAPS),
    "tracker query --history --format json": Case(("query {url} {digits} --history --format json",), ("*",)),
    "tracker query --sql --format json": Case(("query {url} {digits} --format json --sql {sql}",), ("*",)),
    "tracker runs list --format json": Case(("runs list {url} {digits} --format json",)),
    "tracker runs show --format json": Case(
        ("runs show a {url} {digits} --format json", "runs show bare {url} {digits} --format json"), RUN_MAPS
    ),
    "tracker runs delete --json": Case(
        (
            "runs delete a {at} --json --dry-run",
            "runs delete a {at} --json",
            "runs delete source {at} --json --purge --yes",
        )
    ),
    "tracker runs restore --json": Case(("runs restore gone {at} --json",)),
    "tracker runs undelete --json": Case(("runs undelete gone {at} --json",)),
    "tracker runs stop --json": Case(("runs stop live {at} --json",)),
    "tracker runs update --json": Case(
        ("runs update a {at} --json --tag x --config lr=3", "runs update a {at} --json --name full --dry-run"),
        ("runs.changes", "runs.changes.<name>.before*", "runs.changes.<name>.after*"),
    ),
    "tracker runs tail --json": Case(
        tuple(f"runs tail a {{url}} {{digits}} --json --{stream}" for stream in ("history", "console", "system")),
        ("history.row*", "system.row*"),
        by="stream",
    ),
    "tracker diff --json": Case(("diff a b {at} --json",), DIFF_MAPS, codes=(1,)),
    "tracker runs export --json": Case(
        (
            "runs export {url} {digits} --json --output {folder} --what runs,history,files",
            "runs export {url} {digits} --json --output {folder}2 --what runs --filter {finished} --order id --limit 1",
        ),
        ("filter*",),
    ),
    "tracker log --json": Case(
        ("log a {at} --json --full", "log gone {at} --json"), ("changes.before*", "changes.after*")
    ),
    "tracker files ls --json": Case(("files ls a {at} --json",)),
    "tracker files get --json": Case(("files get a {at} --json --root {folder}",)),
    "tracker files put --json": Case(("files put a {file} --root {here} {at} --json",)),
    "tracker files rm --json": Case(("files rm a f.txt {at} --json",)),
    "tracker projects --json": Case(
        ("projects {url} --json", "projects {url} --json --size", "projects {url} --json --names")
    ),
    "tracker status --format json": Case(("status {here} --format json",)),
    "tracker compact --json": Case(
        ("compact {url} {digits} --json", "compact {url} {digits} --json --dry-run"), empty={"notes": "string"}
    ),
    "tracker vacuum --json": Case(("vacuum {url} {digits} --json --blobs",), empty={"notes": "string"}),
    "tracker gc --json": Case(
        (
            "gc {url} {digits} --json",
            "gc {url} {digits} --json --dry-run --grace 0",
            "gc {url} {digits} --json --grace 0 --yes",
        )
    ),
    "tracker fsck --json": Case(
        ("fsck {url} --json", "fsck {url} --json --repair"),
        codes=(0, 1, 5),
        empty={"kept": {"key": "string", "why": "string"}, "renewed": "string"},
    ),
    "tracker du --json": Case(("du {url} --json", "du {url} --json --by run", "du {url} --json --by family")),
    "tracker cache --json": Case(("cache --json", "cache --json --clear")),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world that nobody changes."""
    folder = tmp_path_factory.mktemp("world")
    build_world(folder)
    return folder


@pytest.fixture
def places(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What calls are filled in with; the world is a copy of the test's own."""
    here = Path(shutil.copytree(world, tmp_path / "here"))
    monkeypatch.setenv("TRACKER_DATA_DIR", str(here / "data"))
    monkeypatch.setenv("TRACKER_CACHE_DIR", str(here / "cache"))
    url = str(here / "root")
    return {
        "url": url,
        "at": f"--url {url} --project main/digits",
        "digits": "--project main/digits",
        "here": str(here),
        "folder": str(here / "got"),
        "file": str(here / "f.txt"),
        "finished": '{"state":"finished"}',
        "sql": "SELECT(id)FROM(runs)",
    }


def check(name: str, shape: Any) -> None:
    """The page has this shape under this name."""
    text = shape_text(shape)
    if os.environ.get("RENEW"):
        block = f"<!-- shape: {name} -->\n```json\n{text}\n```\n"
        page = PAGE.read_text()
        old = rf"<!-- shape: {re.escape(name)} -->\n```json\n.*?\n```\n"
        assert re.search(old, page, flags=re.DOTALL), f"{name} has no place on the page"
        PAGE.write_text(re.sub(old, lambda _: block, page, flags=re.DOTALL))
    assert documented().get(name) == text


@pytest.mark.parametrize("name", CASES)
def test_commands_print_json_of_this_shape(name: str, tracker: Tracker, places: dict[str, str]) -> None:
    case = CASES[name]
    answers = []
    for call in case.calls:
        done = tracker(*call.format(**places).split())
        assert done.code in case.codes, done.err
        answers += [json.loads(done.out)] if done.out.startswith(("[", "{\n")) else done.records()
    if case.by:
        check(name, kinds(case, answers))
    else:
        check(name, merged([shape_of(answer, case.maps, empty=case.empty) for answer in answers]))


def kinds(case: Case, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The shape of the records of each kind."""
    names = list(dict.fromkeys(record[case.by] for record in records))
    return {
        name: merged([shape_of(record, case.maps, name) for record in records if record[case.by] == name])
        for name in names
    }


def commands_with_json(group: Any, name: str = "tracker") -> list[str]:
    """Commands that have --json or --format."""
    found = []
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            found += commands_with_json(command, f"{name} {word}")
        elif {"as_json", "format", "json"} & {parameter.name for parameter in command.params}:
            found.append(f"{name} {word}")
    return found


def test_every_command_that_prints_json_has_its_shape_on_the_page() -> None:
    """A new command stands in CASES."""
    known = {re.split(r" --", name)[0] for name in CASES}
    same = {"tracker runs diff": "tracker diff"}  # two names of one command
    assert {same.get(name, name) for name in commands_with_json(typer.main.get_command(app))} == known


def test_the_page_has_no_shape_of_what_is_gone() -> None:
    assert set(documented()) == {*CASES, *VALUES}


def api(places: dict[str, str]) -> Api:
    return Api({"base_url": places["url"], "entity": "main", "project": "digits"})


def key_records(places: dict[str, str]) -> Any:
    user = api(places).create_user("ada@example.com")
    user.generate_api_key("of a test")
    return user.api_key_records


VALUES: dict[str, tuple[Callable[[dict[str, str]], Any], tuple[str, ...]]] = {
    "run.lives()": (lambda places: [*api(places).run("a").lives(), *api(places).run("fork").lives()], ()),
    "run.events()": (lambda places: api(places).run("a").events(), ("changes.before*", "changes.after*")),
    "user.api_key_records": (key_records, ()),
    "file.as_dict()": (lambda places: api(places).run("a").file("f.txt").as_dict(), ()),
    "run.history_keys": (lambda places: api(places).run("b").history_keys, ("keys",)),
    "api.diff(a, b).to_dict()": (lambda places: api(places).diff("a", "b").to_dict(), DIFF_MAPS),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_in_python_have_this_shape(name: str, places: dict[str, str]) -> None:
    make, maps = VALUES[name]
    check(name, shape_of(make(places), maps))


