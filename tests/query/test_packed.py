"""A project answers the same loose, packed, partly packed, packed again and again, and edited afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from project_plans import EDITS, NOW, PLANS, TIMES, S, seen, stored
from store_maker import T0

from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.edits import Edit
from tracker.storage.memory import MemoryStore

FORMS = ("packed", "later", "twice", "merged")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS, edits=EDITS, as_of_s=TIMES)
def test_a_project_answers_the_same_however_it_is_stored(
    form: str,
    plan: list[tuple[Any, ...]],
    edits: list[tuple[int, list[Edit]]],
    as_of_s: int | None,
    tmp_path: Path,
) -> None:
    check_form(form, plan, edits, as_of_s, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS, edits=EDITS, as_of_s=TIMES)
def test_many_projects_answer_the_same_however_they_are_stored(
    form: str,
    plan: list[tuple[Any, ...]],
    edits: list[tuple[int, list[Edit]]],
    as_of_s: int | None,
    tmp_path: Path,
) -> None:
    check_form(form, plan, edits, as_of_s, tmp_path)


def check_form(
    form: str, plan: list[tuple[Any, ...]], edits: list[tuple[int, list[Edit]]], as_of_s: int | None, tmp_path: Path
) -> None:
    as_of_us = None if as_of_s is None else T0 + as_of_s * S

    def answers(store: MemoryStore) -> dict[str, Any]:
        def opened(run_id: str | None) -> Snapshot:
            cache = PartCache(tmp_path / "cache", 1 << 30)
            return open_project(
                store, "main", "p", cache=cache, now_us=NOW, warn=pytest.fail, run_id=run_id, as_of_us=as_of_us
            )

        return seen(opened)

    assert answers(stored(plan, edits, form)) == answers(stored(plan, edits, "loose"))
