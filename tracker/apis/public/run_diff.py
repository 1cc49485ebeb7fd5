"""Two runs compared: what `api.diff` gives, and `tracker diff` prints."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from tracker.apis.public.diff_sections import CodeDiff, MetricsDiff, TreeDiff
from tracker.errors import UsageError
from tracker.query.cells import MISSING
from tracker.query.diff_side import DiffSide
from tracker.query.diff_values import Change, Tolerance, is_ignored, leaf_changes
from tracker.query.snapshot import Snapshot

__all__ = ["SECTIONS", "RunDiff", "check_sections"]

SECTIONS: Final = ("config", "summary", "metadata", "packages", "code", "metrics")

_Tree = TreeDiff | MetricsDiff


def check_sections(sections: Any) -> tuple[str, ...]:
    """The sections that were asked for, in the order of SECTIONS; None: all.

    Raises:
        UsageError: an unknown one, or none.
    """
    if sections is None:
        return SECTIONS
    wanted = [sections] if isinstance(sections, str) else list(sections)
    unknown = [repr(name) for name in wanted if name not in SECTIONS]
    if unknown or not wanted:
        raise UsageError(f"There is no section {', '.join(unknown) or 'chosen'}. Known: {', '.join(SECTIONS)}.")
    return tuple(name for name in SECTIONS if name in wanted)


class RunDiff:
    """What of run a is not the same in run b. Each section is read when it is first looked at, and kept.

    `config`, `summary` and `metadata` are compared leaf by leaf, `packages` by name (None where a run did not record
    them), `code` by commit, repository and the files that were kept, `metrics` step by step. What differs in any two
    runs is left out: when they began, `_runtime` and `_timestamp`, how full the disks were.
    """

    def __init__(
        self,
        a: DiffSide,
        b: DiffSide,
        *,
        sections: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        rtol: float = 0.0,
        atol: float = 0.0,
        ignore: Sequence[str] = (),
    ) -> None:
        """Nothing is read yet. `sections`: what `equal` and `to_dict` speak of. The others: as for `Api.diff`.

        Raises:
            UsageError: an unknown section, or a tolerance below 0.
        """
        self.a, self.b = a, b
        self.sections = check_sections(sections)
        self._keys = [keys] if isinstance(keys, str) else keys
        self._ignore = (ignore,) if isinstance(ignore, str) else tuple(ignore)
        self._tolerance = Tolerance(rtol, atol)

    @classmethod
    def of(
        cls, a: tuple[Callable[[], Snapshot], str], b: tuple[Callable[[], Snapshot], str], **options: Any
    ) -> RunDiff:
        """Of two runs as (how to open it or its project, id)."""
        return cls(DiffSide(*a), DiffSide(*b), **options)

    @cached_property
    def config(self) -> TreeDiff:
        return self._leaves("config", self.a.config, self.b.config)

    @cached_property
    def summary(self) -> TreeDiff:
        return self._leaves("summary", self.a.summary, self.b.summary)

    @cached_property
    def metadata(self) -> TreeDiff:
        return self._leaves("metadata", self.a.metadata, self.b.metadata)

    @cached_property
    def packages(self) -> TreeDiff:
        """Versions by name. Where only one run recorded its packages that is the one difference: at `*`."""
        a, b = self.a.packages, self.b.packages
        if (a is None) != (b is None):
            found = Change("*", *(MISSING if side is None else f"{len(side)} packages" for side in (a, b)))
            return TreeDiff([] if is_ignored("packages", "*", self._ignore) else [found])
        return self._leaves("packages", a or {}, b or {})

    @cached_property
    def code(self) -> CodeDiff:
        """`code.patch` is what turns the kept files of a into those of b."""
        return CodeDiff([*self._leaves("code", self.a.code, self.b.code)], self.a, self.b)

    @cached_property
    def metrics(self) -> MetricsDiff:
        """Its items are the keys that differ; `metrics(format=...)` gives the rows of both runs side by side."""
        return MetricsDiff(self.a, self.b, self._keys, self._tolerance, self._ignore)

    @property
    def equal(self) -> bool:
        """Whether nothing differs in any of `sections`; the cheap ones are looked at first."""
        return all(section.equal for section in self._chosen())

    def to_dict(self) -> dict[str, Any]:
        """`a` and `b` (entity/project/id), `equal`, and a list of differences for each of `sections`."""
        found = {name: getattr(self, name).to_list() for name in self.sections}
        return {"a": self.a.path, "b": self.b.path, "equal": not any(found.values()), **found}

    def _leaves(self, section: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> TreeDiff:
        return TreeDiff(leaf_changes(a, b, section=section, tolerance=self._tolerance, ignore=self._ignore))

    def _chosen(self) -> Iterable[_Tree]:
        return (getattr(self, name) for name in self.sections)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(getattr(self, name))} {name}" for name in self.sections)
        return f"<RunDiff {self.a.path} {self.b.path}: {counts}>"

    def _repr_html_(self) -> str:
        """A table for each section with differences; it needs nothing from elsewhere."""
        parts = [f"<p><code>{_text(self.a.path)}</code> &rarr; <code>{_text(self.b.path)}</code></p>"]
        for name in self.sections:
            section = getattr(self, name)
            rows = _metric_rows(section) if isinstance(section, MetricsDiff) else _change_rows(section)
            if rows:
                parts.append(f"<h4>{name}</h4><table>{''.join(rows)}</table>")
        if len(parts) == 1:
            parts.append(f"<p>no differences in {', '.join(self.sections)}</p>")
        return f"<div>{''.join(parts)}</div>"


def _change_rows(section: TreeDiff) -> list[str]:
    cells = [(one.path, *("" if side is MISSING else repr(side) for side in (one.a, one.b))) for one in section]
    return [_row("th", ("", "a", "b")), *(_row("td", row) for row in cells)] if cells else []


def _metric_rows(section: MetricsDiff) -> list[str]:
    head = ("", "first step", "a", "b", "differing", "only a", "only b", "max |b - a|")
    cells = [
        (
            one.key,
            one.first_step,
            *("" if side is MISSING else side for side in (one.first_a, one.first_b)),
            one.differing,
            one.a_only,
            one.b_only,
            "" if one.max_difference is None else f"{one.max_difference:.6g}",
        )
        for one in section
    ]
    return [_row("th", head), *(_row("td", row) for row in cells)] if cells else []


def _row(tag: str, cells: Iterable[Any]) -> str:
    return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"


def _text(value: Any) -> str:
    shown = str(value)
    return html.escape(shown if len(shown) <= 200 else f"{shown[:199]}…")
