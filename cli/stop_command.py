"""`tracker runs stop`: ask the processes that write runs to stop."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tracker.apis.public.run_control import stop_runs
from tracker.cli.columns import count_text
from tracker.cli.reading import open_reader
from tracker.cli.talk import say

__all__ = ["stop_named"]


def stop_named(runs: Sequence[str], url: str | None, project: str | None, entity: str | None, *, as_json: bool) -> None:
    """Every process that writes one of them hears of it within about 15 seconds.

    Raises:
        NotFound: one of them is not there; then none is stopped.
        UsageError: nobody writes one of them any more; then none is stopped.
        StorageUnavailable, CredentialsMissing: as the store. Repeating is safe.
    """
    run_ids = list(dict.fromkeys(runs))
    with open_reader(url, project, entity) as reader:
        processes = reader.read(lambda snapshot: stop_runs(snapshot, run_ids))
        name = reader.name
    say(f"asked {count_text(processes, 'process', 'processes')} of {count_text(len(run_ids), 'run')} of {name} to stop")
    done = {"entity": name.entity, "project": name.project, "runs": run_ids, "processes": processes}
    print(json.dumps(done, indent=2, ensure_ascii=False) if as_json else "\n".join(run_ids))
