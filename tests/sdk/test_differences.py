"""docs/differences.md and the tests named `test_differs_...` say the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_difference_has_its_test_and_the_other_way_round() -> None:
    listed = re.findall(r"`(test_differs_\w+)`", (ROOT / "docs" / "differences.md").read_text())
    tests = [
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_differs_\w+)", path.read_text(), flags=re.MULTILINE)
    ]
    assert sorted(listed) == sorted(tests)
