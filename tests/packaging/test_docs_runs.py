"""docs/runs.md: its settings are those of the code, its example runs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracker
from tracker.sdk.settings_layers import from_environment

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "runs.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| `(.*?)` \| `(TRACKER_\w+)` \|", PAGE, flags=re.MULTILINE)


def test_every_setting_of_our_own_is_listed() -> None:
    source = (Path(tracker.sdk.__file__).parent / "settings.py").read_text()
    own = source.split("# this project's own", 1)[1].split("_frozen:", 1)[0]
    assert sorted(name for name, _, _ in ROWS) == sorted(re.findall(r"^    (\w+):", own, flags=re.MULTILINE))


@pytest.mark.parametrize(("name", "default", "variable"), ROWS)
def test_defaults_and_variables_are_those_of_the_code(name: str, default: str, variable: str) -> None:
    assert getattr(tracker.Settings(), name) == ast.literal_eval(default)
    assert list(from_environment({variable: "1"})) == [name]


def test_the_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    environment = {**os.environ, "TRACKER_BASE_URL": str(tmp_path / "store")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert json.loads((tmp_path / "alerts.jsonl").read_text())["title"] == "Loss is not finite"


def test_states_are_those_of_the_fold() -> None:
    from tracker.storage import fold

    listed = re.findall(r"^\| `(\w+)` \| [^`|]*(?:`[^`]*`[^`|]*)*\|$", PAGE.split("## How a run ends")[1], re.MULTILINE)
    assert sorted(listed) == sorted(fold._SEVERITY)
