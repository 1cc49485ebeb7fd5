"""Notebooks: RE-4, NB-1, NAME-9. A module that looks like IPython in a kernel stands in for it."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from tracker.sdk.notebook import in_notebook


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown below the cell."""
    shown: list[str] = []
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    shell = types.SimpleNamespace(kernel=object())
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    display.HTML = str  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_kernel_is_told_from_a_terminal(kernel: list[str]) -> None:
    assert in_notebook()
    sys.modules["IPython"].get_ipython().kernel = None
    assert not in_notebook()


def test_init_in_a_notebook_starts_anew(start: Any, kernel: list[str]) -> None:
    """RE-4: reinit defaults to True, and config values may change."""
    first, writer = start(config={"a": 1})
    first.config.a = 2
    second, _ = start()
    assert second is not first
    assert writer.own("state") == "finished"
    third, _ = start(reinit=False)
    assert third is second


def test_a_run_is_shown(start: Any, kernel: list[str]) -> None:
    """NAME-9"""
    run, _ = start()
    assert run.display(height=99) is True
    assert "height:99px" in kernel[-1]
    assert run.name in run._repr_html_()


def test_the_beginning_and_the_end_are_html(start: Any, kernel: list[str], capsys: Any) -> None:
    """NB-1: what a terminal gets as lines is shown below the cell."""
    run, _ = start(name="<b>bold</b>")
    assert "&lt;b&gt;bold" in kernel[0]
    run.log({"loss": 2.0})
    run.log({"loss": 1.0})
    run.finish()
    assert "ended with exit code 0" in kernel[1]
    assert "polyline" in kernel[1]
    assert "<b>bold" not in "".join(kernel)
    assert capsys.readouterr().err == ""
    run, _ = start(settings={"quiet": True})
    run.finish()
    assert len(kernel) == 2
