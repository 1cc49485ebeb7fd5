"""The facts that a writer begins and ends with. Pure: clock, ids and machine come in as arguments."""

from __future__ import annotations

from tracker.sdk.facts import FactRow
from tracker.sdk.options import RunOptions
from tracker.storage.events import KIND_ATTR, KIND_WRITER

__all__ = ["attr_facts", "end_facts", "writer_facts"]


def writer_facts(
    writer_id: str,
    *,
    generation: str | None,
    job: str | None,
    rank: str | None,
    host: str | None,
    pid: int,
    started_us: int,
    decides_state: bool,
    parent: str | None = None,
    user: str | None = None,
) -> list[FactRow]:
    """Who writes here. `generation` None: the writer joins the run as it is. `parent`: the writer of the session that
    this process comes from (a forked or spawned copy of the run): where that one is deleted, so is this one.

    A writer that does not decide the run's state (a forked child, `x_update_finish_state=False`) is
    marked as ended from its beginning, so that the run never waits for it.
    """
    fields: dict[str, object] = {
        "generation": generation,
        "job": job,
        "rank": rank,
        "host": host,
        "pid": pid,
        "started_at": started_us,
        "state": "running" if decides_state else "finished",
    }
    if user is not None:
        fields["user"] = user
    if parent is not None:
        fields["parent"] = parent
    if not decides_state:
        fields |= {"exit_code": 0, "ended_at": started_us}
    return [(KIND_WRITER, None, f"{writer_id}.{name}", value) for name, value in fields.items()]


def end_facts(writer_id: str, *, state: str, exit_code: int, ended_us: int, last_frame: int) -> list[FactRow]:
    """How the writer's session ended; `last_frame` is the number of the frame that these facts make."""
    fields = {"state": state, "exit_code": exit_code, "ended_at": ended_us, "last_frame": last_frame}
    return [(KIND_WRITER, None, f"{writer_id}.{name}", value) for name, value in fields.items()]


def attr_facts(options: RunOptions, *, joins: bool, default_name: str, commit: str | None) -> list[FactRow]:
    """Attributes of the run. A writer that joins says only what it was given, so it overrides nobody by accident."""
    given: dict[str, object] = {
        "name": options.run_name or (None if joins else default_name),
        "notes": options.run_notes,
        "tags": list(options.run_tags) if options.run_tags is not None else None,
        "group": options.run_group,
        "job_type": options.run_job_type,
        "sweep": options.sweep_id,
    }
    machine: dict[str, object] = {
        "host": options.host,
        "username": options.username,
        "program": options.program,
        "commit": commit,
    }
    fields = given if joins else given | machine
    return [(KIND_ATTR, None, name, value) for name, value in fields.items() if value is not None]
