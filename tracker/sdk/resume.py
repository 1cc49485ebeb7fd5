"""`init` asks the store: does the run exist, where did it stop, what is at a step of it. Here alone it waits for it.

Only `resume`, `resume_from` and `fork_from` need that. It is bounded by `init_timeout`; then, as when the store is
away, `init` raises CommError (INIT-16).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from tracker.errors import AuthenticationError, CommError, CredentialsMissing, StorageUnavailable, UsageError
from tracker.sdk import term
from tracker.sdk.beginning import Beginning, Start
from tracker.sdk.branch import branch_beginning
from tracker.sdk.options import RunOptions
from tracker.sdk.ranks import Place
from tracker.storage.clock import wall_us
from tracker.storage.events import KIND_ATTR
from tracker.storage.fold import JOINING
from tracker.storage.names import RunRef, new_ulid

if TYPE_CHECKING:
    from tracker.apis.public.origin import Origin

__all__ = ["begin", "joins_existing"]

_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)  # before the store that is away is asked again; then the last again
_SHIPPING_S: Final = 3.0  # beside two flushes: for the upload itself

T = TypeVar("T")
Wait = Callable[[float], bool]


def begin(options: RunOptions, place: Place, *, id_given: bool) -> Beginning:
    """How the run that `options` (complete) name begins in this process, after asking the store where that is needed.

    Raises:
        UsageError: `resume="must"` and there is no such run, `resume="never"` and there is one, a fork or rewind of a
            run that is not there or has not come to the step (RES-2, REW-2, FORK-4).
        CommError: the store is away, or did not answer within `init_timeout`.
    """
    joins = joins_existing(options, place, id_given=id_given)
    generation = None if joins else new_ulid(wall_us())
    if options.fork_from is not None or options.resume_from is not None:
        return _branch(options, place, generation)
    if options.resume is None:
        return Beginning(generation=generation, describes=not joins or options.is_shared)
    return _resume(options, place, generation, id_given=id_given)


def joins_existing(options: RunOptions, place: Place, *, id_given: bool) -> bool:
    """Whether this process writes to the newest life of the run, whatever that is, instead of opening a new one.

    So do, where one id was given, the ranks above 0 of a job and the writers of a shared run (of one that begins at a
    step of another: those that are not primary). Who resumes a run that exists joins it as well.
    """
    if not id_given:
        return False
    if options.fork_from is not None or options.resume_from is not None:
        return not place.is_primary or not options.x_primary
    return options.is_shared or not place.is_primary


def _resume(options: RunOptions, place: Place, generation: str | None, *, id_given: bool) -> Beginning:
    ref = _ref(options, str(options.run_id))
    origin = _ask(options, ref, lambda _: _origin(options, ref, place)) if id_given else None
    if options.resume == "never":
        if origin is not None and place.is_primary:
            raise UsageError(
                f"Run {_shown(ref)} exists, and resume='never' was asked for. "
                f"Give a new id, or resume='allow' to go on with it."
            )
        return Beginning(generation=generation, describes=generation is not None or options.is_shared)
    if origin is None:
        if options.resume == "must":
            raise UsageError(
                f"There is no run {_shown(ref)} in {options.base_url} to go on with (resume='must'). "
                f"Check entity, project and id, or use resume='allow'."
            )
        if generation is not None:  # several may begin the run at once, each before the store has the others
            generation += JOINING
        return Beginning(generation=generation, describes=generation is not None or options.is_shared)
    start = Start(origin.last_step + 1, origin.runtime_s, resumed=True)
    return Beginning(
        generation=None,
        describes=place.is_primary and "host" not in origin.facts(KIND_ATTR),  # no session has begun it: `Run.create`
        observed=True,
        start=start,
        live=origin.live,
        carried=origin.past.carried,
        explicit=origin.past.explicit,
    )


def _branch(options: RunOptions, place: Place, generation: str | None) -> Beginning:
    is_fork = options.fork_from is not None
    moment = options.fork_from if is_fork else options.resume_from
    ref, step = _ref(options, moment.run), math.floor(moment.step)
    patience_s = 2 * options.x_flush_max_s + _SHIPPING_S
    try:
        origin = _ask(options, ref, lambda wait: _branch_origin(options, ref, step, place, patience_s, wait))
    except UsageError as exc:
        if not options.is_offline:
            raise
        name = "fork_from" if is_fork else "resume_from"
        term.warn(f"{name} has no effect offline unless the run lies in {options.base_url}: a new run starts. {exc}")
        return Beginning(generation=generation, describes=generation is not None)
    return branch_beginning(origin, generation, is_fork=is_fork)


def _origin(options: RunOptions, ref: RunRef, place: Place) -> Origin | None:
    from tracker.apis.public.origin import read_origin

    return read_origin(str(options.base_url), ref, job=place.job, rank=place.rank)


def _branch_origin(
    options: RunOptions, ref: RunRef, step: int, place: Place, patience_s: float, wait: Wait
) -> Origin:
    from tracker.apis.public.origin import read_branch_origin

    return read_branch_origin(
        str(options.base_url), ref, step, job=place.job, rank=place.rank, patience_s=patience_s, wait=wait
    )


def _ref(options: RunOptions, run_id: str) -> RunRef:
    return RunRef(str(options.entity), str(options.project), run_id)


def _shown(ref: RunRef) -> str:
    return f"{ref.entity}/{ref.project}/{ref.run_id}"


def _send_leftovers(options: RunOptions, ref: RunRef) -> None:
    """What dead sessions of the run left unsent in this working directory is sent: the run has logged it, too."""
    from tracker.storage.sync import find_spools, sync_dir

    for spool in find_spools(options.working_dir):
        of_run = (spool.entity, spool.project, spool.run_id) == (ref.entity, ref.project, ref.run_id)
        if of_run and spool.state == "waiting" and spool.store_url == options.base_url:
            sync_dir(spool.path, notify=term.notify)


def _ask(options: RunOptions, ref: RunRef, read: Callable[[Wait], T]) -> T:
    """`read(wait)` in a thread, again while the store is away, for at most `init_timeout` seconds.

    Before, the store gets what this machine still has of the run `ref`.

    Raises:
        CommError: it took longer, or the store refuses us. Whatever else `read` raises.
    """
    deadline = time.monotonic() + options.init_timeout
    stop = threading.Event()
    done = threading.Lock()
    done.acquire()
    waits: list[float] = []
    outcome: list[T | BaseException] = []
    refusals: list[StorageUnavailable] = []

    def wait(pause_s: float) -> bool:
        if not waits:
            term.info(f"run {ref.run_id} is being written and has not come to that step; waiting for it")
        waits.append(pause_s)
        return not stop.wait(pause_s)

    def work() -> None:
        try:
            _send_leftovers(options, ref)
            outcome.append(_patiently(lambda: read(wait), stop, refusals))
        except BaseException as exc:  # whatever it is, the waiting thread raises it
            outcome.append(exc)
        finally:
            done.release()

    threading.Thread(target=work, name="tracker-ask", daemon=True).start()
    try:
        left_s = max(deadline - time.monotonic(), 0.001)
        answered = done.acquire(timeout=min(left_s, threading.TIMEOUT_MAX))
    finally:
        stop.set()
    if not answered:
        cause = refusals[-1] if refusals else None
        raise CommError(
            f"{options.base_url} did not answer within {options.init_timeout:g} seconds (init_timeout)"
            + (f": {cause}" if cause else "")
            + ". Without it this run can not begin; try again, or start one without resume and fork.",
            cause,
        )
    (found,) = outcome
    if isinstance(found, CredentialsMissing):
        raise AuthenticationError(str(found), found) from found
    if isinstance(found, StorageUnavailable):
        raise CommError(str(found), found) from found
    if isinstance(found, BaseException):
        raise found
    return found


def _patiently(read: Callable[[], T], stop: threading.Event, refusals: list[StorageUnavailable]) -> T:
    """`read()`, again after a pause where the store was away. Returns or raises at once when `stop` is set."""
    while True:
        try:
            return read()
        except CredentialsMissing:
            raise
        except StorageUnavailable as exc:
            if not refusals:
                term.warn(f"{exc}\nThis run has to know what is there; it is asked again.")
            refusals.append(exc)
            if stop.wait(_PAUSES_S[min(len(refusals), len(_PAUSES_S)) - 1]):
                raise
