"""Files that repeat what the store knows anyway, for people and programs that look for them (META-6, SUM-8)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.sdk.recorder import Recorder

__all__ = ["config_document", "summary_document"]


def config_document(items: Mapping[str, Any]) -> bytes:
    """`config.yaml`: each key with its `value`, in the form that `init(config=path)` reads (CFG-2)."""
    import yaml

    plain = json.loads(json.dumps(dict(items), default=str))  # subclasses of dict, str, ... become what they are like
    document = {"wandb_version": 1} | {key: {"value": value} for key, value in plain.items()}
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "backslashreplace")


def summary_document(recorder: Recorder) -> bytes:
    """`wandb-summary.json`: the summary as it stands, the row that is still open among it."""
    tree = recorder.live.tree()
    pending = recorder.history.steps.pending
    if pending is not None:
        tree |= {"_step": pending.step, "_timestamp": pending.ts_us / 1e6, "_runtime": pending.runtime_s}
        tree["_wandb"] = {"runtime": int(pending.runtime_s)}
    return json.dumps(tree, default=str).encode()
