"""Branches as facts say them, and the lives that a rewind replaces."""

from __future__ import annotations

import pytest
from event_logs import SCENARIOS

from tracker.storage.branches import Branch, parse_branch
from tracker.storage.fold import fold_run

VALUE = {"run": "r", "generation": "g1", "step": 7, "writers": {"wa": 3, "wb": 0}}


def test_a_branch_is_what_its_fact_says() -> None:
    """FORK-1, REW-1."""
    branch = parse_branch("g2", VALUE)
    assert branch == Branch("g2", "r", "g1", 7, {"wa": 3, "wb": 0})
    assert branch.to_value() == VALUE
    assert parse_branch("g2", VALUE | {"later": [1]}) == branch


def test_a_step_between_two_whole_ones_is_the_lesser() -> None:
    """INIT-10: the number may be a float."""
    steps = {number: parse_branch("g", VALUE | {"step": number}) for number in (3.0, 3.5, -0.5)}
    assert {number: branch and branch.step for number, branch in steps.items()} == {3.0: 3, 3.5: 3, -0.5: -1}


@pytest.mark.parametrize(
    "value",
    [None, "r", [], {}, VALUE | {"run": 1}, VALUE | {"step": True}, VALUE | {"step": float("nan")},
     VALUE | {"writers": ["wa"]}, VALUE | {"generation": 4}],
)  # fmt: skip
def test_what_is_no_branch_is_none(value: object) -> None:
    assert parse_branch("g2", value) is None


@pytest.mark.parametrize(
    ("name", "visible"),
    [
        ("rewound while the old session and one that resumed it still write", {"wc"}),
        ("rewound where nobody had opened a life", {"wc"}),
        ("rewound twice, the first life lives on", {"wc"}),
        ("rewound, and then started anew beside it", {"wc", "wd"}),
        ("a rewind whose life is deleted by name", {"wa"}),
    ],
)
def test_a_rewound_life_never_shows_beside_what_replaced_it(name: str, visible: set[str]) -> None:
    """REW-1: even where its writers go on, or would have joined the newest life."""
    log = SCENARIOS[name]
    state = fold_run(log.facts, log.points, log.spans, log.now_us, log.edits)
    assert state is not None
    assert state.visible == visible
