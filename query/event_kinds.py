"""What kinds of things happen to a run, and which of them a frame of facts tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tracker.query.cells import MISSING
from tracker.query.diff_values import Change
from tracker.storage.branches import parse_branch
from tracker.storage.errors import UsageError
from tracker.storage.events import (
    KIND_ALERT,
    KIND_ATTR,
    KIND_BRANCH,
    KIND_CARRIED,
    KIND_CONFIG,
    KIND_FILE,
    KIND_LOST,
    KIND_META,
    KIND_METRIC,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    path_text,
)

__all__ = ["EVENT_KINDS", "FACT_EVENTS", "SHOWN_KINDS", "check_kinds", "text_of", "writer_event"]

EVENT_KINDS: Final[Mapping[str, str]] = {
    "started": "a process began to write the run: anew, going on with it, or beside others",
    "forked": "a life of the run began inside of another run, or at an earlier step of this one",
    "fields": "name, notes, tags, group, job_type and other fields were set",
    "config": "values of the config were set or removed",
    "summary": "values of the summary were set by hand",
    "metric": "metrics were defined",
    "metadata": "program, repository or machine were recorded",
    "file": "files were kept or removed",
    "alert": "an alert was sent",
    "state": "the run is about to be preempted",
    "stop": "somebody asked a process to stop",
    "rows": "rows were logged: one event a stored file",
    "ended": "a process ended the run, and how",
    "silent": "a process was heard of for the last time, and never said that it ended",
    "deleted": "the run was deleted",
    "restored": "the run was restored",
    "lost": "calls were refused, records were damaged, or a dead process was recovered",
    "heartbeat": "a process said that it lives",
}
SHOWN_KINDS: Final = tuple(kind for kind in EVENT_KINDS if kind not in ("rows", "heartbeat"))

FACT_EVENTS: Final[Mapping[str, str]] = {
    KIND_ATTR: "fields",
    KIND_CONFIG: "config",
    KIND_SUMMARY: "summary",
    KIND_METRIC: "metric",
    KIND_META: "metadata",
    KIND_FILE: "file",
    KIND_ALERT: "alert",
    KIND_BRANCH: "forked",
    KIND_LOST: "lost",
    KIND_TOMBSTONE: "deleted",  # or restored
    KIND_WRITER: "started",  # or another one, as `writer_event` says
    KIND_CARRIED: "",  # part of what a fork begins with
}

_NAMES_MAX: Final = 5
_ENDS: Final = ("finished", "failed", "killed")


def check_kinds(kinds: Any) -> frozenset[str]:
    """The kinds that were asked for; None: SHOWN_KINDS.

    Raises:
        UsageError: an unknown one.
    """
    if kinds is None:
        return frozenset(SHOWN_KINDS)
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    unknown = [repr(kind) for kind in wanted if kind not in EVENT_KINDS]
    if unknown:
        raise UsageError(f"There are no events of kind {', '.join(unknown)}. Known: {', '.join(EVENT_KINDS)}.")
    return frozenset(wanted)


def writer_event(said: Mapping[str, Any]) -> str:
    """Which kind of event it is that a writer says this of itself in one frame."""
    if "started_at" in said:
        return "started"
    if "ended_at" in said or said.get("state") in _ENDS:
        return "ended"
    if "refused" in said or "recovered" in said:
        return "lost"
    return "heartbeat" if set(said) == {"heartbeat"} else "state"


def text_of(kind: str, changes: Sequence[Change], run_id: str) -> str:
    """The event in a few words. `changes`: what it set, for writers by field."""
    values = {change.path: change.b for change in changes}
    match kind:
        case "started":
            return _started(values)
        case "ended":
            code = values.get("exit_code")
            return f"ended as {values.get('state', 'finished')}" + (f", exit code {code}" if code is not None else "")
        case "state":
            return f"is {values.get('state', 'changed')}"
        case "deleted" | "restored":
            return f"{kind} the run"
        case "forked":
            return ", ".join(_branch(change, run_id) for change in changes)
        case "alert":
            return ", ".join(_alert(change) for change in changes)
        case "lost":
            return _lost(values)
        case "heartbeat":
            return "is alive"
        case _:
            return _names(kind, changes)


def _started(said: Mapping[str, Any]) -> str:
    if said.get("parent") is not None:
        text = "a process of the session began"
    else:
        text = "began" if said.get("generation") is not None else "joined"
    details = [f"{name} {said[name]}" for name in ("rank", "pid") if said.get(name) is not None]
    return f"{text} ({', '.join(details)})" if details else text


def _branch(change: Change, run_id: str) -> str:
    branch = parse_branch(change.path, change.b)
    if branch is None:
        return "began inside of another life"
    return f"rewound to step {branch.step}" if branch.run_id == run_id else f"forked {branch.run_id} at {branch.step}"


def _alert(change: Change) -> str:
    if not isinstance(change.b, Mapping):
        return "took an alert back" if change.b is MISSING else path_text(change.path)
    return f"{change.b.get('level', 'INFO')}: {change.b.get('title', '')}"


def _lost(said: Mapping[str, Any]) -> str:
    if "refused" in said:
        return f"refused {said['refused']} calls: the local disk was full or could not be written"
    if "recovered" in said:
        return "was recovered: its process died before it had ended"
    return "damaged records on the local disk were left out"


def _names(kind: str, changes: Sequence[Change]) -> str:
    several = {"file": "files", "fields": "fields", "metric": "metrics", "metadata": "metadata"}.get(kind, kind)
    words = []
    for verb, found in (
        ("set", [one.path for one in changes if one.kind != "removed"]),
        ("removed", [one.path for one in changes if one.kind == "removed"]),
    ):
        if found:
            more = f" and {len(found) - _NAMES_MAX} more" if len(found) > _NAMES_MAX else ""
            words.append(f"{verb} {several} {', '.join(found[:_NAMES_MAX])}{more}")
    return "; ".join(words)
