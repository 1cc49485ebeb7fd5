"""Existing event files of TensorBoard as a run of their own, beside whatever run is active."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from typing import Any

from tracker.errors import CommError, UsageError
from tracker.sdk import session
from tracker.sdk.beginning import Beginning
from tracker.sdk.config import config_facts
from tracker.sdk.history import HistoryLog
from tracker.sdk.identity import generate_name
from tracker.sdk.options import RunOptions
from tracker.sdk.ranks import Place
from tracker.sdk.recorder import Recorder
from tracker.sdk.start import complete_options
from tracker.sdk.tb_files import EventFiles, event_directories
from tracker.storage.clock import wall_us
from tracker.storage.names import RunRef, new_ulid

__all__ = ["import_event_files"]


def import_event_files(root_dir: str | os.PathLike[str], options: RunOptions) -> RunRef:
    """Every event file below `root_dir` is in one new run that has ended. Returns which; it replaces one of that id.

    A row is one global step of one directory, whose path below `root_dir` stands before the tags (TB-1, TB-2).

    Raises:
        UsageError: there is no event file, or TensorBoard is not installed.
        CommError: the store does not take the run; it waits on the local disk for `tracker sync`.
    """
    root = os.path.abspath(root_dir)
    directories = event_directories(root)
    if not directories:
        raise UsageError(f"There are no event files of TensorBoard in {root}.")
    try:
        from tracker.sdk.tb_rows import Namespaces, StepRows
        from tracker.sdk.tb_sync import draw_chart
        from tracker.sdk.tb_values import config_of, event_values
    except ImportError as exc:
        raise UsageError(
            'Event files are read with TensorBoard, which is not installed: pip install "tracker[tensorboard]".'
        ) from exc
    options = complete_options(replace(options, program=options.program or root, compact=False))
    recorder = _begun(options)
    history = recorder.history
    assert isinstance(history, HistoryLog)
    try:
        rows = StepRows(lambda row: history.log(row, None, True), partial(draw_chart, recorder.write_facts))
        namespaces = Namespaces(root)
        config: dict[str, Any] = {}
        for directory in directories:
            name = str(namespaces.name(directory, 0.0))
            for event in EventFiles(directory).new_events():
                config = config_of(event) | config
                rows.add(name, event.step, event.wall_time, event_values(event))
            rows.end(name)
        if config:
            recorder.write_facts(config_facts(config))
    except BaseException:
        recorder.end(1)
        raise
    recorder.end(0)
    if recorder.writer is not None and recorder.writer.shipped_frames < recorder.writer.next_seq:
        raise CommError(f"Run {options.run_id} is not in the store yet. `tracker sync` sends it.")
    return recorder.ref


def _begun(options: RunOptions) -> Recorder:
    recorder = Recorder(options, time.time_ns() // 1000)
    recorder.name = options.run_name or generate_name(str(options.run_id))
    beginning = Beginning(generation=new_ulid(wall_us()))
    facts = beginning.facts(options, {}, default_name=recorder.name, commit=None)
    recorder.open(Place(None, None), beginning, facts)
    session.adopt(recorder)  # where the process ends in between, it ends too
    return recorder
