"""What the config says of the run itself, under `_wandb`: it follows from facts, and nobody writes it as config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker.storage.branches import parse_branch
from tracker.storage.events import KIND_BRANCH, KIND_METRIC, Value
from tracker.storage.metric_rules import MetricRules

__all__ = ["internal_config"]


def internal_config(live: Mapping[str, Mapping[str, Value]]) -> dict[str, Any]:
    """Of a run's live facts. `branch_point`: `run_id` and `step`, where the run was forked or rewound (FORK-2).
    `metrics`: what was defined, by name (MET-13).
    """
    rules = MetricRules.of_facts(live.get(KIND_METRIC, {}))
    metrics = {"metrics": {rule.name: rule.as_dict() for rule in rules}} if rules else {}
    found = [parse_branch(path, value) for path, value in sorted(live.get(KIND_BRANCH, {}).items())]
    branches = [branch for branch in found if branch is not None]
    if not branches:
        return metrics
    newest = branches[-1]  # ids of lives ascend with time
    return metrics | {"branch_point": {"run_id": newest.run_id, "step": newest.step}}
