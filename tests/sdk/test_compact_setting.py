"""`compact`: a run that ends may start compaction, unless a setting says no; ranks and offline runs never do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tracker


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What compaction was started for; the test environment's own setting is lifted."""
    calls: list[tuple[str, str, str]] = []
    monkeypatch.delenv("TRACKER_COMPACT")
    monkeypatch.setattr("tracker.sdk.recorder.start_tidying", lambda *where: calls.append(where))
    return calls


def test_a_run_that_ends_may_start_compaction(start: Any, started: Any, tmp_path: Path) -> None:
    run, _ = start(settings={"base_url": str(tmp_path / "root")}, entity="team")
    run.log({"a": 1})
    assert started == []
    run.finish()
    assert started == [(str(tmp_path / "root"), "team", "p")]
    run.finish()
    assert len(started) == 1


@pytest.mark.parametrize("how", ["environment", "settings", "offline", "rank"])
def test_a_setting_an_offline_run_and_a_rank_above_zero_start_none(
    start: Any, started: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    arguments: dict[str, Any] = {}
    match how:
        case "environment":
            monkeypatch.setenv("TRACKER_COMPACT", "false")
        case "settings":
            arguments["settings"] = tracker.Settings(compact=False)
        case "offline":
            arguments["mode"] = "offline"
        case "rank":
            monkeypatch.setenv("RANK", "1")
            monkeypatch.setenv("WORLD_SIZE", "2")
    run, _ = start(**arguments)
    run.finish()
    assert started == []


def test_what_did_not_reach_the_store_starts_none(start: Any, started: Any) -> None:
    run, writer = start()
    writer.report = type(writer.report)(False, 3, "away")
    run.finish()
    assert started == []
