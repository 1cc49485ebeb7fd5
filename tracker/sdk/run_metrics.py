"""The calls of a run that define metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker.sdk.metric import Metric, metric_of

if TYPE_CHECKING:
    from tracker.sdk.recorder import Recorder

__all__ = ["MetricCalls"]


class MetricCalls:
    """Part of `Run`."""

    _recorder: Recorder

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
        **kwargs: Any,
    ) -> Metric:
        """Say how a metric is to be shown; holds for what is logged from now on.

        `name`: the metric's key; `a.b` is the key `b` of the dict `a`, `a\\.b` a key with a dot. With `*` at its end
        it speaks of all keys that begin so, but for those that begin with `_` or have a definition of their own.
        `step_metric`: the metric on whose values plots of this one lie. With `step_sync` (default: if there is a step
        metric) its latest value joins each row that holds this metric without it, 0 if there is none.
        `summary`: what the summary keeps instead of the last value: `min`, `max`, `mean`, `last`, `best` (with
        `goal`), several with commas between; `none`: nothing. `goal`: `minimize` or `maximize`. `hidden`: no automatic
        plots. Definitions of one name add up unless `overwrite`.

        Raises:
            Error: an argument of a wrong type, or a word that is none of these.
            UsageError: the run is finished.
        """
        if kwargs:
            raise TypeError(f"define_metric() has no argument {next(iter(kwargs))!r}.")
        metric = metric_of(name, step_metric, step_sync, hidden, summary, goal, overwrite)
        self._define(metric, overwrite=bool(overwrite))
        return metric

    def _define(self, metric: Metric, *, overwrite: bool) -> None:
        self._recorder.history.define(metric.rule, overwrite=overwrite)
