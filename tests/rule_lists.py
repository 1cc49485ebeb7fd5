"""Which rules of the specification tests cite, for the lists of rules under tests/whole."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

__all__ = ["check_citations", "check_open", "cited"]

TESTS = Path(__file__).resolve().parent
_LISTS = TESTS / "whole"
_RANGE = re.compile(r"\b[A-Z]+-\d+(?:\.\.| to [A-Z]+-)\d+")  # a range is a heading, no citation
_RULE = re.compile(r"\b[A-Z]+-\d+\b")
_NAME = re.compile(r"def test_([a-z]+)_(\d+)(?:_and_(\d+))?_")  # test_filt_7_and_8_missing_and_null


@cache
def cited() -> frozenset[str]:
    """Ids of rules in the texts and the names of the tests, the lists of rules apart."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        if not (path.parent == _LISTS and path.name.endswith("_rules.py")):
            text = path.read_text()
            found.update(_RULE.findall(_RANGE.sub("", text)))
            found.update(f"{family.upper()}-{n}" for family, *numbers in _NAME.findall(text) for n in numbers if n)
    return frozenset(found)


def check_citations(rules: Collection[str], open_rules: Mapping[str, str]) -> None:
    """Every rule has a test that cites it, or a reason why it is open; and no test cites a rule that there is not."""
    assert sorted(set(rules) - cited() - set(open_rules)) == []
    families = {rule.partition("-")[0] for rule in rules}
    assert sorted(rule for rule in cited() if rule.partition("-")[0] in families and rule not in rules) == []


def check_open(rules: Collection[str], open_rules: Mapping[str, str], partly: Mapping[str, str]) -> None:
    """No test cites what is open, so that the list shrinks as tests come; one cites what is held in part."""
    assert sorted(set(open_rules) - set(rules)) == []
    assert sorted(set(open_rules) & cited()) == []
    assert sorted(set(partly) - set(rules)) == sorted(set(partly) - cited()) == []
    assert all(len(reason) > 5 for reason in (*open_rules.values(), *partly.values()))

