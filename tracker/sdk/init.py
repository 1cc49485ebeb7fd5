"""`tracker.init`: starts a run and makes it the active one. Asks no network, except to resume, rewind or fork."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tracker.base_url import check_root
from tracker.sdk import exits, forks, session, sigterm, term
from tracker.sdk.config_sources import initial_config, select_keys
from tracker.sdk.git import find_git_root, read_commit
from tracker.sdk.injected import Injected, SageMaker, injector_of, read_injected, without_decided
from tracker.sdk.notebook import in_notebook
from tracker.sdk.options import RunOptions, options_from, validated
from tracker.sdk.ranks import find_place
from tracker.sdk.resume import begin
from tracker.sdk.run import Run
from tracker.sdk.settings_layers import merge_layers
from tracker.sdk.start import ResumeFile, complete_options, place_in_run
from tracker.storage.stores import is_remote_url

if TYPE_CHECKING:
    from tracker.sdk.settings import Settings

    StrPath = str | os.PathLike[str]

__all__ = ["init"]


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: StrPath | None = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: dict[str, Any] | str | None = None,
    config_exclude_keys: list[str] | None = None,
    config_include_keys: list[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: Literal["online", "offline", "disabled"] | None = None,
    force: bool | None = None,
    anonymous: Literal["never", "allow", "must"] | None = None,
    reinit: bool | None = None,
    resume: bool | Literal["allow", "never", "must", "auto"] | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Settings | dict[str, Any] | None = None,
) -> Run:
    """Start a run, make it the active one, and return it.

    `dir` is the local working directory; a remote URL there (s3://, gs://, ...) names the root that the
    data goes to. Without one the root is `settings.base_url`, TRACKER_BASE_URL, what `login(host=...)`
    stored, or a directory of this user. While a run is active it is returned as it is, unless `reinit`.

    Raises:
        TypeError, ValueError, UsageError: an argument is wrong (INIT-5..12); no run is active then.
        ConfigError: the config file can not be read.
        CommError: `resume`, `resume_from` or `fork_from` and the store is away (INIT-16); no run directory can be made.
    """
    arguments: dict[str, Any] = {
        "entity": entity,
        "project": project or None,
        "run_id": id,
        "run_name": name or None,
        "run_notes": notes,
        "run_tags": tags,
        "allow_val_change": allow_val_change,
        "run_group": group,
        "run_job_type": job_type,
        "mode": mode,
        "force": force,
        "anonymous": anonymous,
        "reinit": reinit,
        "resume": resume,
        "resume_from": resume_from,
        "fork_from": fork_from,
        "save_code": save_code,
        "sync_tensorboard": sync_tensorboard if sync_tensorboard is not None else tensorboard,
    }
    given = _given(settings)
    with session.current.lock:
        active = session.active_here()
        if active is not None:
            if not _reinits(arguments, given):
                return active
            active.finish()
        if dir is not None:
            place = os.fspath(dir) if isinstance(dir, os.PathLike) else dir
            if isinstance(place, str) and "://" in place:
                arguments["base_url" if is_remote_url(place) else "root_dir"] = check_root(place)
            else:
                arguments["root_dir"] = place
        if tensorboard is not None:
            term.warn("init(tensorboard=) is the old name of sync_tensorboard=")
        arguments = validated({name: value for name, value in arguments.items() if value is not None})
        merged = merge_layers(session.current.settings, given, arguments)
        injector = injector_of(merged)
        if injector is not None:
            merged = merge_layers(session.current.settings, given, without_decided(arguments, injector))
        options = options_from(merged)
        _configure_term(options)
        values = select_keys(initial_config(config, options.config_paths), config_include_keys, config_exclude_keys)
        sagemaker = SageMaker(os.environ)
        if not options.sagemaker_disable and sagemaker.is_here:
            options, values = sagemaker.named(options), values | sagemaker.config()
        injected = read_injected(options, os.environ)
        if options.is_disabled:
            from tracker.sdk.disabled import start_disabled

            return start_disabled(options, values, injected)
        if monitor_gym:
            from tracker.sdk.gym_monitor import monitor

            monitor()
        return _start(options, values, injected)


def _start(options: RunOptions, config: dict[str, Any], injected: Injected) -> Run:
    if options.is_offline and options.resume is not None:
        term.warn("resume has no effect offline: a new run starts")
        options = replace(options, resume=None)
    automatic = ResumeFile(options) if options.resume == "auto" else None
    if automatic is not None:
        options = automatic.choose(options)
    if options.resume_from is not None:
        options = replace(options, run_id=options.resume_from.run)  # INIT-11: another id was refused before
    id_given = options.run_id is not None
    options = complete_options(options)
    if options.allow_val_change is None and in_notebook():
        options = replace(options, allow_val_change=True)
    place = place_in_run(options, find_place(os.environ))
    beginning = begin(options, place, id_given=id_given)
    run = Run(beginning.filled(options), config, injected.sweep, injected.launch)
    run.start(place, beginning, given=options, commit=_commit(options))
    if automatic is not None:
        automatic.write(run.id)
        run.recorder.on_success = partial(automatic.remove, run.id)
    exits.watch.install()
    sigterm.watch.install()
    forks.install()
    _send_what_waits(options)
    return run


def _given(settings: Settings | dict[str, Any] | None) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        return settings.given()
    return validated(settings)


def _reinits(arguments: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether an active run gives way to a new one (RE-1, RE-2, RE-4)."""
    environment = os.environ.get("TRACKER_REINIT") or os.environ.get("WANDB_REINIT")
    for word in (arguments["reinit"], given.get("reinit"), session.current.settings.get("reinit"), environment):
        if word is not None:
            return word not in (False, "return_previous") and str(word).lower() not in ("false", "0", "no", "off", "")
    return in_notebook()


def _configure_term(options: RunOptions) -> None:
    term.configure(
        silent=options.silent,
        quiet=options.quiet,
        show_info=options.show_info,
        show_warnings=options.show_warnings,
        show_errors=options.show_errors,
        show_colors=options.show_colors,
        show_emoji=options.show_emoji,
    )


def _commit(options: RunOptions) -> str | None:
    if options.git_commit is not None or options.disable_git:
        return options.git_commit
    program = Path(options.program or "")
    root = find_git_root(program.resolve().parent if program.is_file() else Path(options.root_dir))
    return read_commit(root) if root is not None else None


def _send_what_waits(options: RunOptions) -> None:
    """In the background: what earlier processes left in this working directory."""
    from tracker.storage.sync import resume_orphans

    resume_orphans(options.working_dir, term.notify)
