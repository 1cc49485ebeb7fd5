"""The parts of a comparison of two runs: what differs in a tree of values, in code, in metrics."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

from tracker.apis.public.failures import comm_errors
from tracker.apis.public.histories import FRAMES, check_frame
from tracker.errors import Error, UsageError
from tracker.query.cells import concat_rows
from tracker.query.diff_metrics import METRICS, MetricDiff, align_columns, metric_diffs
from tracker.query.diff_side import DiffSide
from tracker.query.diff_values import Change, Tolerance, is_ignored
from tracker.query.frames import to_arrow, to_dicts, to_pandas, to_polars

__all__ = ["CodeDiff", "MetricsDiff", "TreeDiff"]

_LINES_MAX: Final = 10_000  # of a file whose lines are compared: the time grows with their square


class TreeDiff:
    """Paths at which two runs differ, sorted: as long as there are such paths, so that `if diff.config:` means one."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = tuple(changes)

    @property
    def equal(self) -> bool:
        return not self._changes

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """What both have: path to the values in a and b."""
        return {one.path: (one.a, one.b) for one in self._changes if one.kind == "changed"}

    @property
    def added(self) -> dict[str, Any]:
        """What only b has."""
        return {one.path: one.b for one in self._changes if one.kind == "added"}

    @property
    def removed(self) -> dict[str, Any]:
        """What only a has."""
        return {one.path: one.a for one in self._changes if one.kind == "removed"}

    def to_list(self) -> list[dict[str, Any]]:
        """One dict a path: `path`, `change`, `a`, `b`; the last two where they are there."""
        return [one.to_dict() for one in self._changes]

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self)} differences>"


class CodeDiff(TreeDiff):
    """Commit, repository and kept files of two runs. Values of files are the SHA-256 of their contents."""

    def __init__(self, changes: Sequence[Change], a: DiffSide, b: DiffSide) -> None:
        super().__init__(changes)
        self._sides = a, b

    @cached_property
    def patch(self) -> str:
        """What turns the kept files of a that differ into those of b, as a unified diff; read when it is asked for.

        Files of more than 1 MiB or 10,000 lines, and those that are no text, are named and nothing more.
        """
        a, b = self._sides
        names = sorted({one.path for one in self} & {*a.code_files, *b.code_files})
        return "".join(_unified(name, a, b) for name in names)


def _unified(name: str, a: DiffSide, b: DiffSide) -> str:
    texts = [side.text(name) if name in side.code_files else "" for side in (a, b)]
    before, after = (str(text or "").splitlines(keepends=True) for text in texts)
    if None in texts or max(len(before), len(after)) > _LINES_MAX:
        return f"Files a/{name} and b/{name} differ\n"
    old, new = (f"{mark}/{name}" if name in side.code_files else "/dev/null" for mark, side in (("a", a), ("b", b)))
    lines = []
    for line in difflib.unified_diff(before, after, old, new):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


class MetricsDiff:
    """Metrics of two runs, step by step. Its items are the keys that differ; calling it gives the rows side by side."""

    def __init__(
        self, a: DiffSide, b: DiffSide, keys: Sequence[str] | None, tolerance: Tolerance, ignore: Sequence[str]
    ) -> None:
        self._sides = a, b
        self._keys = None if keys is None else list(keys)
        self._tolerance, self._ignore = tolerance, ignore

    @comm_errors
    def __call__(self, format: str = "default", keys: Sequence[str] | None = None) -> Any:
        """The rows of both runs joined on the step: `_step`, and `a.<key>`, `b.<key>`, `difference.<key>` (b - a).

        format: `default` (dicts), `pandas`, `polars` or `arrow`. A row for each step at which either run has a value;
        of several rows of one step the first of a stands beside the first of b, and so on.

        Raises:
            CommError: an unknown format; `.exc` is a ValueError.
            Error: pandas or polars is not installed.
        """
        check_frame(format, FRAMES)
        wanted = self._keys if keys is None else list(keys)
        rows = concat_rows(align_columns(lambda: self._rows(wanted), wanted))
        try:
            return {"default": to_dicts, "pandas": to_pandas, "polars": to_polars, "arrow": to_arrow}[format](rows)
        except ImportError as exc:
            raise Error(f'format="{format}" needs the package {format}. Run: pip install {format}') from exc

    @cached_property
    def all(self) -> list[MetricDiff]:
        """Every key that either run has logged, sorted; of those that were asked for.

        Raises:
            UsageError: neither run has logged a key that was asked for.
        """
        found = metric_diffs(
            lambda: self._rows(self._keys), keys=self._keys, tolerance=self._tolerance, ignore=self._ignore
        )
        counted = [key for key in self._keys or () if not is_ignored(METRICS, key, self._ignore)]
        unknown = [repr(key) for key in counted if key not in {one.key for one in found}]
        if unknown:  # a misspelt key must not look like one that is the same
            a, b = (side.path for side in self._sides)
            raise UsageError(f"Neither {a} nor {b} has logged {', '.join(unknown)}.")
        return found

    @property
    def differing(self) -> list[MetricDiff]:
        """The keys that differ, sorted."""
        return [one for one in self.all if not one.equal]

    @property
    def equal(self) -> bool:
        return not self.differing

    @property
    def first_step(self) -> int | None:
        """The first step at which the runs part; None where they do not."""
        return min((one.first_step for one in self.differing if one.first_step is not None), default=None)

    def to_list(self) -> list[dict[str, Any]]:
        """One dict for each key that differs: see `MetricDiff.to_dict`."""
        return [one.to_dict() for one in self.differing]

    def _rows(self, keys: list[str] | None) -> Any:
        return tuple(side.rows(keys) for side in self._sides)

    def __len__(self) -> int:
        return len(self.differing)

    def __iter__(self) -> Iterator[MetricDiff]:
        return iter(self.differing)

    def __repr__(self) -> str:
        return f"<MetricsDiff {len(self)} of {len(self.all)} metrics differ>"
