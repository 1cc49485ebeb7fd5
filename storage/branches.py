"""Where a life of a run begins inside the history of another one: the value of a fact of kind `branch`.

A fork begins in another run, a rewind in an earlier life of the same run. Either shows what the branch pins, frame by
frame, and nothing that the other writes afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tracker.storage.events import KIND_BRANCH, Fact

__all__ = ["Branch", "parse_branch", "rewinds_of"]


@dataclass(frozen=True, slots=True)
class Branch:
    """The life `generation` shows the rows of `writers` in `run_id`, up to `step` and up to a frame of each.

    What the life `parent` of that run had itself inherited shows as well, up to `step`.
    """

    generation: str  # the life that begins; the fact's path
    run_id: str  # the run that it begins in
    parent: str  # the life of that run; "" where nobody opened one
    step: int  # inclusive
    writers: Mapping[str, int]  # id to last frame

    def to_value(self) -> dict[str, Any]:
        """The fact's value, as `parse_branch` reads it."""
        return {"run": self.run_id, "generation": self.parent, "step": self.step, "writers": dict(self.writers)}


def parse_branch(path: str, value: object) -> Branch | None:
    """The branch that a fact says; None where the value is none. A step between two whole ones is the lesser."""
    match value:
        case {"run": str(run_id), "step": int() | float() as step, "writers": dict() as writers, **rest}:
            parent = rest.get("generation", "")
            if isinstance(step, bool) or not math.isfinite(step) or not isinstance(parent, str):
                return None
            pinned = {str(writer): frame for writer, frame in writers.items() if type(frame) is int}
            return Branch(path, run_id, parent, math.floor(step), pinned)
        case _:
            return None


def rewinds_of(facts: Iterable[Fact]) -> dict[str, Branch]:
    """Of one run's facts the branches that begin in the run itself, by the writer that says so and opens the life."""
    found = {}
    for fact in facts:
        if fact.kind == KIND_BRANCH:
            branch = parse_branch(fact.path, fact.value)
            if branch is not None and branch.run_id == fact.subject:
                found[fact.writer_id] = branch
    return found
