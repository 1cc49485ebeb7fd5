"""The run sets of reports: which runs one shows, as a filter document and an order that every collection takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tracker.query.errors import FilterError
from tracker.query.fields import bind_field
from tracker.query.filter_strings import Condition, Conditions, Group, parse_filter_string
from tracker.query.order import DEFAULT_ORDER
from tracker.query.parse_filter import DEPTH_MAX

__all__ = ["DISPLAY_NAMES", "run_set_filter", "run_set_order", "string_filter"]

DISPLAY_NAMES: Final = {
    "ID": "name",
    "Name": "displayName",
    "Tags": "tags",
    "State": "state",
    "CreatedTimestamp": "createdAt",
    "Runtime": "duration",
    "User": "username",
    "Sweep": "sweep",
    "Group": "group",
    "JobType": "jobType",
    "Hostname": "host",
    "Step": "_step",
    "Relative Time (Wall)": "_absolute_runtime",
    "RelativeTime(Wall)": "_absolute_runtime",
    "Relative Time (Process)": "_runtime",
    "RelativeTime(Process)": "_runtime",
    "Wall Time": "_timestamp",
    "WallTime": "_timestamp",
}
_ARTIFACTS: Final = frozenset({"UsingArtifact", "OutputtingArtifact", "inputArtifacts", "outputArtifacts"})
_AUTOMATIC: Final = {
    "_step": "summary_metrics._step",
    "_runtime": "summary_metrics._runtime",
    "_timestamp": "summary_metrics._timestamp",
    "_absolute_runtime": "duration",
}
_PATHS: Final = ("config.", "summary.", "summary_metrics.")
_OPERATORS: Final = {
    "!=": "$ne",
    "<": "$lt",
    "<=": "$lte",
    ">": "$gt",
    ">=": "$gte",
    "IN": "$in",
    "NIN": "$nin",
    "REGEX": "$regex",
}

InConfig = Callable[[str], bool]


def string_filter(text: str, in_config: InConfig) -> dict[str, Any]:
    """The filter document that an old-style filter string means (REP-2), such as "lr == 0.1 and State == 'finished'".

    A name is a run field (as the tables show it, `State`, or as filters write it, `state`); else it is of the config
    where `in_config` says that some run's config has a key of this name, and of the summary where it does not.

    Raises:
        FilterError: it is malformed. A ValueError.
    """
    tree = parse_filter_string(text)
    return {} if tree is None else _document(tree, in_config)


def run_set_filter(run_set: Mapping[str, Any], in_config: InConfig, *, only_selected: bool = True) -> dict[str, Any]:
    """The filter document of a run set: its filters (a string, a filter document, or the stored tree of `op`, `key`,
    `value` and `filters`), its search, and with `only_selected` its selection.

    Conditions that are switched off or not filled in yet hold for every run.

    Raises:
        FilterError: a part of it has no meaning. A ValueError.
    """
    parts = [_filters(run_set.get("filters"), in_config), _search(run_set.get("search"))]
    if only_selected:
        parts.append(_selection(run_set.get("selections")))
    said = [part for part in parts if part]
    return said[0] if len(said) == 1 else {"$and": said} if said else {}


def run_set_order(run_set: Mapping[str, Any], in_config: InConfig) -> list[str]:
    """The order of a run set, one key each; the newest run first where it says nothing.

    Raises:
        FilterError: a key of it has no meaning. A ValueError.
    """
    sort = run_set.get("sort") or {}
    keys = sort.get("keys") or ([sort] if sort.get("key") else [])
    if not keys:
        return [f"-{DEFAULT_ORDER[1:]}"]
    return [f"{'+' if key.get('ascending') else '-'}{_sorted_by(key.get('key') or {}, in_config)}" for key in keys]


def _sorted_by(key: Mapping[str, Any], in_config: InConfig) -> str:
    section, name = _key(key)
    if section in ("tags", "keys_info"):
        raise FilterError(f'Runs cannot be ordered by "{section}".')
    return _field(section, name, in_config)


def _filters(filters: Any, in_config: InConfig) -> dict[str, Any]:
    if not filters:
        return {}
    if isinstance(filters, str):
        return string_filter(filters, in_config)
    if not isinstance(filters, Mapping):
        raise FilterError(f"The filters of a run set are a text or a document, not {filters!r:.60}.")
    if not filters.keys() & {"op", "key", "filters"}:
        return dict(filters)
    tree = _stored(filters)
    return {} if tree is None else _document(tree, in_config)


def _stored(node: Any, depth: int = 0) -> Conditions | None:
    """The conditions of a stored tree; None: it has none."""
    if not isinstance(node, Mapping) or depth > DEPTH_MAX:
        raise FilterError(f"The filters of a run set are no tree of conditions: {node!r:.60}.")
    if node.get("disabled"):
        return None
    op = node.get("op")
    if node.get("key") is not None:
        section, name = _key(node["key"])
        op = "=" if op == "==" else op
        if op != "=" and op not in _OPERATORS:
            raise FilterError(f"Unknown operator {op!r:.60} in a run set. Known: =, {', '.join(_OPERATORS)}.")
        if not name or (node.get("value") is None and op not in ("=", "!=")):
            return None
        return Condition(section, name, op, node.get("value"))  # type: ignore[arg-type]  # `_document` knows them all
    if op not in ("AND", "OR"):
        raise FilterError(f"Conditions of a run set are joined by AND or OR, not by {op!r:.60}.")
    parts = tuple(part for below in node.get("filters") or () if (part := _stored(below, depth + 1)) is not None)
    return Group(op, parts) if parts else None


def _key(key: Any) -> tuple[str, str]:
    """Section and name of what a stored condition or order is about."""
    if not isinstance(key, Mapping) or not isinstance(key.get("name"), str):
        raise FilterError(f"The key of a run set's condition has a section and a name, not {key!r:.60}.")
    return str(key.get("section") or "run"), key["name"]


def _document(tree: Conditions, in_config: InConfig) -> dict[str, Any]:
    match tree:
        case Group(op, parts):
            documents = [_document(part, in_config) for part in parts]
            return documents[0] if len(documents) == 1 else {f"${op.lower()}": documents}
        case Condition("tags", name, op, value):
            return _tag(name, op, value)
        case Condition("keys_info", name, op, value):
            return {f"summary_metrics.{name}": {"$exists": _yes_or_no(f'KeysInfo("{name}")', op, value)}}
        case Condition(section, name, op, value):
            field = _field(section, name, in_config)
            return {field: value} if op == "=" else {field: {_OPERATORS[op]: value}}


def _tag(name: str, op: str, value: Any) -> dict[str, Any]:
    """`Tags("x") == True` and its like: runs that have the tag x, or do not."""
    if op in ("IN", "NIN"):
        return {"tags": {_OPERATORS[op]: value}}
    has = value is None or _yes_or_no(f'Tags("{name}")', op, value)
    return {"tags": name} if has else {"tags": {"$ne": name}}


def _yes_or_no(what: str, op: str, value: Any) -> bool:
    """What `what == value` (or `!=`) asks for, where None is no."""
    if op not in ("=", "!=") or not (value is None or isinstance(value, bool)):
        raise FilterError(f"{what} is compared with True or False by == or !=, not by {op} with {value!r:.60}.")
    return bool(value) == (op == "=")


def _field(section: str, name: str, in_config: InConfig) -> str:
    """The field of filter documents that a name of this section means."""
    if section == "config":
        return f"config.{name}"
    if section == "summary":
        return f"summary_metrics.{name}"
    if section not in ("", "run"):
        raise FilterError(f'Unknown section "{section}". Known: run, config, summary, tags, keys_info.')
    if name in _ARTIFACTS:
        raise FilterError(f'"{name}" is no field of a run. Ask for the runs of the artifact instead.')
    known = DISPLAY_NAMES.get(name, name)
    if known in _AUTOMATIC:
        return _AUTOMATIC[known]
    if known.startswith(_PATHS):
        return known
    try:
        bind_field(known)
    except FilterError:
        head = known.partition(".")[0]
        return f"config.{known}" if in_config(known) or in_config(head) else f"summary_metrics.{known}"
    return known


def _search(search: Any) -> dict[str, Any]:
    """Runs whose name has the text in it, whatever its case."""
    query = search.get("query") if isinstance(search, Mapping) else None
    if not query:
        return {}
    pattern = str(query) if search.get("isRegex") else re.escape(str(query))
    return {"displayName": {"$regex": f"(?i){pattern}"}}


def _selection(selections: Any) -> dict[str, Any]:
    """Runs that are selected by id: those of the list, or with `root` 1 all but those."""
    if not isinstance(selections, Mapping) or "tree" not in selections:  # nobody selected anything yet
        return {}
    ids = [run_id for run_id in selections.get("tree") or () if isinstance(run_id, str)]
    if selections.get("root"):
        return {"name": {"$nin": ids}} if ids else {}
    return {"name": {"$in": ids}}
