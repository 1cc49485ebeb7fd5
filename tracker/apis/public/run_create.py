"""`CreateCall`: making a run that nobody logs to yet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from tracker.apis.public.people import local_user
from tracker.query.runs import load_runs
from tracker.sdk.identity import (
    DEFAULT_PROJECT,
    check_entity,
    check_project,
    check_run_id,
    generate_id,
    generate_name,
)
from tracker.sdk.opening import writer_facts
from tracker.storage.clock import wall_us
from tracker.storage.events import KIND_ATTR, KIND_WRITER
from tracker.storage.fact_writer import FactWriter
from tracker.storage.fold import JOINING
from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef, new_ulid, run_prefix
from tracker.storage.port import Store

if TYPE_CHECKING:
    from tracker.apis.public.api import Api
    from tracker.apis.public.client import RetryingClient

__all__ = ["CreateCall"]


class CreateCall:
    """Part of `Run`."""

    if TYPE_CHECKING:

        def __init__(self, client: RetryingClient, entity: str, project: str, run_id: str) -> None: ...

    @classmethod
    def create(
        cls, api: Api, run_id: str | None = None, project: str | None = None, entity: str | None = None
    ) -> Self:
        """Make a run in state running, with an id of its own unless one is given, and return it (API-2).

        `init(id=run.id, resume="allow")` (or `"must"`) goes on with it, in any process. Until then nobody writes it, so
        after five minutes it shows as crashed, as every run does that says nothing. A run of that id that there is
        already is returned as it is.

        Raises:
            UsageError: no id of a run, no name for a project or entity, or the Api shows a time gone by.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        client = api.client
        client.refuse_the_past()
        run_id = generate_id() if run_id is None else check_run_id(run_id)
        entity = check_entity(entity or api.default_entity)
        project = check_project(project or api.settings["project"] or DEFAULT_PROJECT)
        ref = RunRef(entity, project, run_id)
        root = client.homes_of(entity, project, run_id)[0]
        ensure_format(root)  # the first run makes the root
        if not load_runs(client.snapshot(entity, project, run_id), [run_id]):
            _begin(root, ref, client.patience_s)
        return cls(client, entity, project, run_id)


def _begin(root: Store, ref: RunRef, patience_s: float) -> None:
    """The first frame of a run, put at once: there is no process that could ship it later."""
    me, now_us = local_user(), wall_us()
    writer = FactWriter(root, ref.entity, ref.project, run_prefix(ref), run_id=ref.run_id)
    begin = writer_facts(
        writer.writer_id,
        generation=new_ulid(now_us) + JOINING,  # who makes or resumes the run at the same time joins it
        job=None,
        rank=None,
        host=None,
        pid=os.getpid(),
        started_us=now_us,
        decides_state=True,
    )
    attrs = {"name": generate_name(ref.run_id), "username": me["username"]}
    facts = [*begin, (KIND_WRITER, None, f"{writer.writer_id}.last_frame", 0)]
    facts += [(KIND_ATTR, None, name, value) for name, value in attrs.items()]
    writer.put_facts(facts, patience_s)
