"""`tracker.Api`: the entry point for asking questions of a store."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import quote, unquote

from tracker import __version__
from tracker.apis.public.api_create import CreateCalls
from tracker.apis.public.api_diff import DiffCalls
from tracker.apis.public.api_people import PeopleCalls, key_in_use
from tracker.apis.public.api_reports import ReportCalls
from tracker.apis.public.api_sql import SqlCalls
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import NoSuchProject, comm_errors
from tracker.apis.public.project_view import ApiView
from tracker.apis.public.projects import Project, Projects
from tracker.apis.public.questions import ApiQuestions
from tracker.apis.public.run import Run
from tracker.apis.public.run_edits import restore_runs
from tracker.apis.public.run_events import ApiEventCalls
from tracker.apis.public.runs import Runs
from tracker.base_url import resolve_base_url
from tracker.errors import Error, UsageError
from tracker.query.instants import moment_us
from tracker.query.order import DEFAULT_ORDER
from tracker.sdk import session, term
from tracker.sdk.identity import DEFAULT_ENTITY, DEFAULT_PROJECT
from tracker.sdk.places import config_dir
from tracker.sdk.settings_layers import from_environment, from_file
from tracker.storage.clock import MAX_AHEAD_US, wall_us

__all__ = ["Api"]

P = ParamSpec("P")

K = TypeVar("K")
V = TypeVar("V")

_TIMEOUT_S: Final = 19
_RUNS_KEPT_MAX: Final = 200  # collections, each of which may hold what is known of a whole project
_RUN_KEPT_MAX: Final = 10_000
_OVERRIDES: Final = ("base_url", "entity", "project", "run", "organization")


def _collection_keywords(runs: Callable[Concatenate[Api, P], Runs]) -> Callable[..., Runs]:
    """RUNS-2: the reference's example gives `Api.runs` what the collection takes; the signature stays as it is."""

    @functools.wraps(runs)
    def wrapped(
        self: Api,
        path: str | None = None,
        *args: Any,
        client: RetryingClient | None = None,
        entity: str | None = None,
        project: str | None = None,
        **kwargs: Any,
    ) -> Runs:
        if entity or project:
            known = self._project_path(path)
            path = "/".join(quote(name, safe="") for name in (entity or known[0], project or known[1]))
        found = runs(self, path, *args, **kwargs)  # type: ignore[arg-type]
        return found if client is None else found.with_client(client)

    return wrapped


class Api(SqlCalls, DiffCalls, ApiEventCalls, ReportCalls, ApiQuestions, CreateCalls, PeopleCalls, ApiView):
    """Reads what was logged under one root: a directory or any fsspec URL.

    `overrides`: base_url, entity, project, run, organization; what is missing comes from `login`, the environment
    (TRACKER_BASE_URL, TRACKER_ENTITY, TRACKER_PROJECT) and the settings file. `timeout` (seconds) and `api_key` are
    kept, but tracker has no server that they could be sent to.

    `as_of`: a datetime, ISO 8601 text (UTC where it names no zone) or seconds since the epoch. Everything is then shown
    as it was at that time, later runs, rows, edits and deletions are not there, and nothing can be changed.

    `roots`: several places that answer as one, whatever each of them has: a run that was copied shows once, one that
    wrote to two of them is whole. A change of a run goes to the roots that have it, what is new to the first one; where
    one of them does not answer, nothing does.
    """

    def __init__(
        self,
        overrides: dict[str, Any] | None = None,
        timeout: int | None = None,
        api_key: str | None = None,
        *,
        as_of: datetime | str | float | None = None,
        roots: Sequence[str | os.PathLike[str]] | None = None,
    ) -> None:
        given = dict(overrides or {})
        if roots is not None and "base_url" in given:
            raise UsageError("Give base_url or roots, not both: the first of the roots is where new things go.")
        if "username" in given:
            term.warn('Api(overrides={"username": ...}) is deprecated; it sets the entity. Use "entity".')
            given.setdefault("entity", given.pop("username"))
        unknown = sorted(set(given) - set(_OVERRIDES) - {"username"})
        if unknown:
            raise UsageError(f"Unknown overrides: {', '.join(unknown)}. Known: {', '.join(_OVERRIDES)}.")
        known = _defaults()
        places = _roots(roots) or [resolve_base_url(given.get("base_url") or known.get("base_url"))]
        self.settings: dict[str, Any] = {
            "entity": given.get("entity") or known.get("entity") or DEFAULT_ENTITY,
            "project": given.get("project") or known.get("project"),
            "run": given.get("run"),
            "organization": given.get("organization"),
            "base_url": places[0],
        }
        self.timeout = _TIMEOUT_S if timeout is None else timeout
        self._client = RetryingClient(
            places[0], roots=places, as_of_us=_as_of_us(as_of), patience_s=self.timeout
        )
        self._client.api_key = key_in_use(api_key)
        self._runs: dict[tuple[str, ...], Runs] = {}
        self._run: dict[str, Run] = {}
        self._deletions = 0  # of the client's, when these were looked up

    def __getstate__(self) -> dict[str, Any]:
        """What goes into another process: the same questions, none of the answers."""
        return vars(self) | {"_runs": {}, "_run": {}}

    @property
    def api_key(self) -> str | None:
        """The key that was passed, or the environment's. No store needs it: it only says who asks (`viewer`)."""
        return self._client.api_key

    @property
    def client(self) -> RetryingClient:
        """The store and its cache, as the listing classes take it."""
        return self._client

    @property
    def default_entity(self) -> str:
        """The owner of a path that names none."""
        return str(self.settings["entity"])

    def sync_tensorboard(
        self,
        root_dir: str | os.PathLike[str],
        run_id: str | None = None,
        project: str | None = None,
        entity: str | None = None,
    ) -> Run:
        """Import the event files of TensorBoard below `root_dir` as one run, and return it.

        Without `run_id` the run gets a new id; a run that has this id already is replaced. Scalars, images,
        histograms, PR curves, text and sounds become rows, one for each global step of each directory.

        Raises:
            UsageError: there are no event files, or TensorBoard is not installed.
            CommError: the store can not be reached.
        """
        from tracker.sdk.options import RunOptions
        from tracker.sdk.tb_import import import_event_files

        options = RunOptions(
            entity=entity or self.default_entity,
            project=project or self.settings["project"] or DEFAULT_PROJECT,
            run_id=run_id,
            base_url=self.settings["base_url"],
        )
        ref = import_event_files(root_dir, options)
        self.flush()
        return self.run("/".join(quote(name, safe="") for name in (ref.entity, ref.project, ref.run_id)))

    @property
    def as_of(self) -> datetime | None:
        """The time at which everything is shown, UTC; None: now."""
        moment = self._client.as_of_us
        return None if moment is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=moment)

    @property
    def user_agent(self) -> str:
        return f"tracker/{__version__}"

    def flush(self) -> None:
        """Forget runs and collections, so that the next question is answered afresh (API-7).

        The oldest are forgotten anyway, where there are very many.
        """
        self._runs.clear()
        self._run.clear()

    @_collection_keywords
    def runs(
        self,
        path: str | None = None,
        filters: dict[str, Any] | None = None,
        order: str = DEFAULT_ORDER,
        per_page: int = 50,
        include_sweeps: bool = True,
    ) -> Runs:
        """Runs of a project that match `filters` (a MongoDB document), in order. Nothing is fetched yet.

        `entity=` and `project=` may stand for the path, and `client=` for this Api's own.

        Raises:
            ValueError: an unknown operator or field, a wrong operand.
            TypeError: a value in the filter without a JSON form.
        """
        entity, project = self._project_path(path)
        fresh = Runs(self._client, entity, project, filters, order, per_page, include_sweeps)
        key = (
            entity,
            project,
            json.dumps(filters or {}, default=repr, sort_keys=True),
            str(order),
            str(include_sweeps),
        )
        self._forget_deleted()
        return _kept(self._runs, key, fresh, _RUNS_KEPT_MAX)

    @comm_errors
    def run(self, path: str = "") -> Run:
        """One run: `id`, `project/id`, `entity/project/id`, also with `/runs/` before the id.

        Raises:
            CommError: could not find run; `.exc` is a ValueError.
        """
        entity, project, run_id = self._run_path(path)
        key = f"{entity}/{project}/{run_id}"
        self._forget_deleted()
        known = self._run.get(key)
        return known or _kept(self._run, key, Run(self._client, entity, project, run_id), _RUN_KEPT_MAX)

    @comm_errors
    def restore(self, path: str) -> Run:
        """Show a deleted run again, as if it had never been deleted; `path` as in `run`.

        Raises:
            CommError: the store has nothing of such a run; `.exc` is a ValueError.
            UsageError: this Api shows a time gone by.
        """
        self._client.refuse_the_past()
        entity, project, run_id = self._run_path(path)
        snapshot = self._client.snapshot(entity, project, run_id)
        restore_runs(snapshot, [run_id], patience_s=self._client.patience_s)
        self._client.deletions += 1
        return self.run("/".join(quote(name, safe="") for name in (entity, project, run_id)))

    undelete = restore

    def _forget_deleted(self) -> None:
        """After a run was deleted or restored, what was looked up before is asked for again (RUN-9)."""
        if self._deletions != self._client.deletions:
            self._deletions = self._client.deletions
            self.flush()

    def project(self, name: str, entity: str | None = None) -> Project:
        """The project of that name. Nothing is fetched."""
        return Project(self._client, entity or self.default_entity, name, {})

    def projects(self, entity: str | None = None, per_page: int | None = 200) -> Projects:
        """All projects of an entity that have runs or were made. Nothing is fetched yet."""
        return Projects(self._client, entity or self.default_entity, per_page)

    def from_path(self, path: str) -> Any:
        """The object that a path names: `project`, `entity/project`, `entity/project/run`, `entity/project/runs/run`,
        `entity/project/reports/title--id`.

        Raises:
            Error: the path names nothing that this release knows.
        """
        parts = path.strip("/ ").split("/")
        match [unquote(part) for part in parts]:
            case [project] if project:
                return self.project(project)
            case [entity, project]:
                return self.project(project, entity)
            case [_, _, _]:
                return self.run(path)
            case [_, _, kind, _] if kind.startswith("run"):
                return self.run("/".join((*parts[:2], parts[3])))
            case [_, _, kind, _] if kind.startswith("sweep"):
                raise Error(f"{path!r} names a sweep, and this release keeps none. Its runs: filters={{'sweep': id}}.")
            case [entity, project, kind, name] if kind.startswith("report"):
                return self._report(entity, project, name)
        raise Error(
            f"{path!r} names no project and no run. Write project, entity/project, entity/project/run or "
            "entity/project/runs/run."
        )

    def _project_path(self, path: str | None) -> tuple[str, str]:
        """API-3."""
        project = self.settings["project"] or DEFAULT_PROJECT
        if path is None or not path.strip("/ "):
            return self.default_entity, project
        parts = [unquote(part) for part in path.strip("/ ").split("/")]
        if len(parts) > 2 or not all(parts):
            raise NoSuchProject(f"could not find project {path!r}: write project or entity/project")
        return (self.default_entity, parts[0]) if len(parts) == 1 else (parts[0], parts[1])

    def _run_path(self, path: str) -> tuple[str, str, str]:
        """API-4."""
        parts = path.replace("/runs/", "/").replace("/sweeps/", "/").strip("/ ").split("/")
        head, colon, run_id = parts[-1].rpartition(":")
        if colon:
            parts = [*parts[:-1], head, run_id]
        parts = [unquote(part) for part in parts]
        if parts == [""] and self.settings["run"]:
            parts = [str(self.settings["run"])]
        if len(parts) > 3 or not all(parts):
            raise ValueError(f"could not find run {path!r}: write id, project/id or entity/project/id")
        entity, project = self.default_entity, self.settings["project"] or DEFAULT_PROJECT
        match parts:
            case [run_id]:
                return entity, project, run_id
            case [project, run_id]:
                return entity, project, run_id
            case _:
                return parts[0], parts[1], parts[2]


def _kept(held: dict[K, V], key: K, fresh: V, most: int) -> V:
    """What is held under the key: whichever thread came first. The oldest go, so that at most `most` stay."""
    found = held.setdefault(key, fresh)
    if len(held) > most:
        for old in list(held)[: most // 10 + 1]:
            held.pop(old, None)
    return found


def _roots(roots: Sequence[str | os.PathLike[str]] | None) -> list[str]:
    """Each place once, in its final form. Raises UsageError for what is no list of places."""
    if roots is None:
        return []
    if isinstance(roots, str | os.PathLike) or not roots or not all(roots):
        raise UsageError(f"roots must be a list of directories and URLs, not {roots!r}.")
    return list(dict.fromkeys(resolve_base_url(os.fspath(root)) for root in roots))


def _as_of_us(as_of: datetime | str | float | None) -> int | None:
    """Raises UsageError for what is no time, or one to come (milliseconds, say)."""
    if as_of is None:
        return None
    moment = moment_us(as_of, "as_of")
    if moment > wall_us() + MAX_AHEAD_US:
        raise UsageError(f"as_of={as_of!r} lies in the future. Give seconds, a datetime or ISO 8601 text.")
    return moment


def _defaults() -> Mapping[str, Any]:
    """Entity, project and root from the settings file, the environment and `login`, the later one winning."""
    environ = {name: text for name, text in os.environ.items() if not name.endswith("_RUN_ID")}
    layers = (from_file(config_dir() / "settings"), from_environment(environ), session.current.settings)
    return {name: value for layer in layers for name, value in layer.items() if value is not None}
