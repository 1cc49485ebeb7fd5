"""`tracker.tensorboard`: what TensorBoard's writers write, in the run as well (OI-6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tracker.errors import UsageError

__all__ = ["log", "patch", "unpatch"]


def patch(root_logdir: str = "", pytorch: bool | None = None, tensorboard_x: bool | None = None) -> None:
    """From now on the scalars, images, histograms, PR curves, text and sounds that summary writers of this process
    write become rows of the active run, or of the next one. Call it before the writers are made.

    Names begin with the path of the log directory below `root_logdir`; without one, below what the directories have in
    common. `pytorch` and `tensorboard_x` have no effect: all writers are noticed.

    Raises:
        ValueError: it was called before, without `unpatch`.
    """
    _ = (pytorch, tensorboard_x)
    from tracker.sdk import session
    from tracker.sdk.tb_patch import noticed
    from tracker.sdk.tb_sync import make_tensorboard_sync

    noticed.patch(root_logdir, by_user=True)
    run = session.active_here()
    if run is not None and not run.disabled:
        run.recorder.services.add("tensorboard", lambda: make_tensorboard_sync(run))


def unpatch() -> None:
    """Writers that are made from now on are not noticed any more."""
    from tracker.sdk.tb_patch import noticed

    noticed.unpatch()


def log(
    tf_summary_str_or_pb: str | bytes | Any,
    history: Callable[[Mapping[str, Any]], None] | None = None,
    step: int = 0,
    namespace: str = "",
    **kwargs: Any,
) -> None:
    """Log a TensorFlow summary, as bytes or as the message, as one row with `global_step`.

    `history`: takes the row instead of the active run.

    Raises:
        Error: there is no active run. ValueError: the bytes are no summary.
    """
    _ = kwargs
    from tracker.sdk import session
    from tracker.sdk.tb_rows import StepRows
    from tracker.sdk.tb_sync import draw_chart
    from tracker.sdk.tb_values import summary_values

    run = session.active_here()
    if run is None and history is None:
        raise UsageError("tracker.init() must be called before tracker.tensorboard.log().")
    rows: list[dict[str, Any]] = []
    charts: list[tuple[str, dict[str, Any]]] = []
    steps = StepRows(rows.append, lambda key, chart: charts.append((key, chart)))
    import time

    steps.add(namespace, step, time.time(), summary_values(tf_summary_str_or_pb))
    steps.end_all()
    for key, chart in charts:
        if run is not None:
            draw_chart(run.recorder.write_facts, key, chart)
    for row in rows:
        if history is not None:
            history(row)
        elif run is not None:
            run.log(row)
