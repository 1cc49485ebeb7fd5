"""`tracker._attach`: another process goes on with a run that is being written, in rows of its own (RE-5).

A run goes to another process pickled, as the text of `run._attach_id`, or by its id on the same machine.
"""

from __future__ import annotations

import base64
import binascii
import os
import pickle
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tracker.errors import UsageError
from tracker.sdk import session, term
from tracker.sdk.options import options_from
from tracker.sdk.ranks import find_place
from tracker.sdk.run import Run
from tracker.sdk.settings_layers import merge_layers
from tracker.storage.names import ulid_time_us
from tracker.storage.spool import Owner, Spool, find_spool_dirs

__all__ = ["attach", "attach_id"]

_MARK: Final = "run:"


def attach_id(run: Run) -> str:
    """Text that `attach` makes a copy of the run from, in any process that can reach its store.

    It holds the settings of the run, and is a pickle inside: take it only from those whom you would run code of.
    """
    return _MARK + base64.urlsafe_b64encode(pickle.dumps(run)).decode()


def attach(attach_id: str | None = None, run_id: str | None = None, *, run: Run | None = None) -> Run:
    """Make a run of another process the active one here. What is logged here becomes rows of their own in it.

    One of: `run`, an unpickled copy; `attach_id`, what `run._attach_id` was there; `run_id` (also accepted as
    `attach_id`), the id of a run that a process of this machine writes in the same working directory; its name and
    config are then read from the store, as far as they are there already.

    Raises:
        UsageError: none is given, or no such run is being written.
        RuntimeError: this very process owns the run.
    """
    copy = run or (_of_text(attach_id) if attach_id is not None and attach_id.startswith(_MARK) else None)
    if copy is None:
        wanted = attach_id or run_id
        if not wanted:
            raise UsageError("_attach needs a run, an attach id or the id of a run.")
        active = session.active_here()
        if active is not None and active.id == wanted:
            raise RuntimeError(f"Run {wanted} is the active run of this very process. Use it.")
        copy = _of_id(wanted)
    with session.current.lock:
        copy.recorder.attach()
        session.bind(copy)
    return copy


def _of_text(text: str) -> Run:
    try:
        copy: Any = pickle.loads(base64.urlsafe_b64decode(text.removeprefix(_MARK)))
    except (binascii.Error, pickle.UnpicklingError, EOFError, ValueError) as exc:
        raise UsageError(f"The attach id {text[:40]!r}... is damaged: {exc}.") from exc
    if not isinstance(copy, Run):
        raise UsageError(f"The attach id {text[:40]!r}... holds no run.")
    return copy


def _of_id(run_id: str) -> Run:
    """A stand-in for the run of that id, whose log lies in this working directory and has a living owner."""
    options = options_from(merge_layers(session.current.settings, {}, {}))
    owner = _living_owner(options.working_dir, run_id)
    mode = "shared" if options.is_shared else "online"
    found = replace(
        options,
        run_id=owner.run_id,
        entity=owner.entity,
        project=owner.project,
        base_url=owner.store_url,
        mode=mode,
        resume=None,
        resume_from=None,
        fork_from=None,
    )
    name, config = _stored(owner, found.init_timeout)
    copy = Run(found, config)
    copy.recorder.name = name or copy.recorder.name
    began_us = ulid_time_us(owner.writer_id)
    whose, place = (owner.host, owner.pid), find_place(os.environ)
    copy.recorder.stand_in_for(whose, place, began_us, 0, owner.writer_id)
    return copy


def _stored(owner: Owner, timeout_s: float) -> tuple[str | None, dict[str, Any]]:
    """Name and config as the store has them within `timeout_s`; else nothing, which is said."""
    read: list[tuple[str | None, dict[str, Any]]] = []
    failed: list[Exception] = []

    def attempt() -> None:
        from tracker.apis.public import Api

        try:
            run = Api(overrides={"base_url": owner.store_url}).run(f"{owner.entity}/{owner.project}/{owner.run_id}")
            read.append((run.name, run.config))
        except Exception as exc:  # told below
            failed.append(exc)

    thread = threading.Thread(target=attempt, name="tracker-attach", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if read:
        return read[0]
    why = failed[0] if failed else f"the store did not answer within {timeout_s:g} seconds"
    term.warn(f"the config of run {owner.run_id} is not known here and reads as empty: {why}")
    return None, {}


def _living_owner(folder: Path, run_id: str) -> Owner:
    for path in sorted(find_spool_dirs(folder), reverse=True):
        spool = Spool.load(path)
        if spool is None or spool.owner.run_id != run_id or not spool.is_alive():
            continue
        if (spool.owner.host, spool.owner.pid) == (socket.gethostname(), os.getpid()):
            raise RuntimeError(f"Run {run_id} is written by this very process. Use the original run object.")
        return spool.owner
    raise UsageError(f"No process writes run {run_id!r} in {folder}. Pass the pickled run, or its _attach_id.")
