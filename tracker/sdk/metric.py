"""`Metric`: what one call of `define_metric` said, checked."""

from __future__ import annotations

from typing import Any, Final

from tracker.errors import Error
from tracker.sdk import term
from tracker.storage.metric_rules import SUMMARY_WORDS, MetricRule, stored_name

__all__ = ["Metric", "metric_of"]

_GOALS: Final = {"min": "minimize", "max": "maximize"}


class Metric:
    """A definition as it was given (MET-1); what was said of the name before is not in it."""

    __slots__ = ("_name", "_rule", "_step_metric")

    def __init__(self, name: str, step_metric: str | None, rule: MetricRule) -> None:
        self._name, self._step_metric, self._rule = name, step_metric, rule

    @property
    def rule(self) -> MetricRule:
        """The definition as it is stored."""
        return self._rule

    @property
    def name(self) -> str:
        return self._name

    @property
    def step_metric(self) -> str | None:
        return self._step_metric

    @property
    def step_sync(self) -> bool:
        return self._rule.step_sync

    @property
    def summary(self) -> tuple[str, ...] | None:
        return self._rule.summary or None

    @property
    def hidden(self) -> bool | None:
        return self._rule.hidden or None

    @property
    def goal(self) -> str | None:
        return self._rule.goal

    def __repr__(self) -> str:
        said = (f"{field}={value!r}" for field, value in self._rule.as_dict().items())
        return f"<Metric {self._name!r}{''.join(f' {one}' for one in said)}>"


def metric_of(
    name: Any, step_metric: Any, step_sync: Any, hidden: Any, summary: Any, goal: Any, overwrite: Any
) -> Metric:
    """The arguments of `define_metric`, checked (MET-2, MET-3, MET-5).

    Raises:
        Error: a wrong type, an empty name, a `*` before the end of the name, an unknown word.
    """
    if isinstance(step_metric, Metric):
        step_metric = step_metric.name
    texts = {"name": name, "step_metric": step_metric, "summary": summary, "goal": goal}
    for argument, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise _wrong(argument, value, "text")
    for argument, value in {"step_sync": step_sync, "hidden": hidden, "overwrite": overwrite}.items():
        if value is not None and not isinstance(value, bool):
            raise _wrong(argument, value, "True or False")
    if not name:
        raise Error("define_metric() needs the name of a metric, not an empty one.")
    if "*" in name[:-1]:
        raise Error(f"In define_metric({name!r}) a * stands before the end. It can only end a name: 'train/*'.")
    words = _words(summary)
    direction = None if goal is None else _GOALS.get(goal[:3].lower())
    if goal is not None and direction is None:
        raise Error(f"define_metric({name!r}, goal={goal!r}): a goal is 'minimize' or 'maximize'.")
    _warn_of_old_words(name, words, direction)
    given = step_metric or None
    rule = MetricRule(
        name=stored_name(_encodable(name)),
        step_metric=None if given is None else stored_name(_encodable(given)),
        step_sync=given is not None if step_sync is None else step_sync,
        hidden=bool(hidden),
        summary=words,
        goal=direction,
    )
    return Metric(name, given, rule)


def _words(summary: str | None) -> tuple[str, ...]:
    words = summary.lower().split(",") if summary else []
    for word in words:
        if word not in SUMMARY_WORDS:
            raise Error(
                f"define_metric(summary={summary!r}): {word!r} is not known. "
                f"Known, with commas and no spaces between: {', '.join(SUMMARY_WORDS)}."
            )
    return tuple(word for word in SUMMARY_WORDS if word in words)


def _warn_of_old_words(name: str, words: tuple[str, ...], goal: str | None) -> None:
    if "copy" in words:
        term.warn(f"define_metric({name!r}): summary='copy' is an old word for 'last' alone; leave it out")
    if goal is not None or "best" in words:
        instead = "max" if goal == "maximize" else "min"
        term.warn(f"define_metric({name!r}): summary='best' and goal are old words; use summary={instead!r}")


def _encodable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _wrong(argument: str, value: object, wanted: str) -> Error:
    return Error(f"define_metric() takes {wanted} as {argument}, not {type(value).__name__}: {value!r:.80}")
