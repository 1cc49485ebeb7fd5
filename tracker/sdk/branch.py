"""A life that begins inside another history: what its first frame says (`fork_from`, `resume_from`). Pure.

No row is copied. The branch pins the frames that it shows; what cannot be read through it without following it is
written anew: config, attributes, metric definitions, the summary that its history comes to, and a fork's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tracker.sdk.beginning import Beginning, Start
from tracker.sdk.facts import FactRow
from tracker.storage.events import (
    KIND_ATTR,
    KIND_BRANCH,
    KIND_CONFIG,
    KIND_FILE,
    KIND_METRIC,
    KIND_SUMMARY,
)
from tracker.storage.metric_rules import carried_facts

if TYPE_CHECKING:
    from tracker.apis.public.origin import Origin

__all__ = ["branch_beginning"]

_OF_THE_MACHINE: Final = ("host", "username", "program", "commit")
_OF_THE_RUN: Final = ("name", "sweep")  # a fork is another run


def branch_beginning(origin: Origin, generation: str | None, *, is_fork: bool) -> Beginning:
    """How the life `generation` begins at `origin`. None: another rank opens it, and this session only joins."""
    attrs = {
        path: value
        for path, value in origin.facts(KIND_ATTR).items()
        if path not in _OF_THE_MACHINE and not (is_fork and path in _OF_THE_RUN)
    }
    live = {KIND_ATTR: attrs, KIND_CONFIG: origin.facts(KIND_CONFIG), KIND_METRIC: origin.facts(KIND_METRIC)}
    return Beginning(
        generation=generation,
        describes=generation is not None,
        observed=True,
        start=Start(max(origin.step + 1, 0), origin.runtime_s),
        live=live,
        carried=origin.past.carried,
        explicit=origin.past.explicit,
        copied=tuple(_copied(origin, generation, is_fork=is_fork)) if generation is not None else (),
    )


def _copied(origin: Origin, generation: str, *, is_fork: bool) -> Iterable[FactRow]:
    yield KIND_BRANCH, None, generation, origin.branch(generation).to_value()
    for key, carried in origin.past.carried.items():
        yield from carried_facts(key, carried)
    for kind, leaves in (
        (KIND_SUMMARY, origin.past.explicit),
        (KIND_METRIC, origin.facts(KIND_METRIC)),
        (KIND_FILE, origin.past.files if is_fork else {}),
    ):
        for path, value in leaves.items():
            yield kind, None, path, value
