"""`DiffCalls`: what an `Api` says of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracker.apis.public.failures import comm_errors

if TYPE_CHECKING:
    from tracker.apis.public.run import Run
    from tracker.apis.public.run_diff import RunDiff

__all__ = ["DiffCalls"]


class DiffCalls:
    """Part of `Api`, which finds runs."""

    if TYPE_CHECKING:

        def run(self, path: str = "") -> Run: ...

    @comm_errors
    def diff(
        self,
        a: str | Run,
        b: str | Run,
        *,
        sections: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        rtol: float = 0.0,
        atol: float = 0.0,
        ignore: Sequence[str] = (),
    ) -> RunDiff:
        """What differs between two runs: paths as for `run`, or Run objects, also of other projects and other Apis.

        `sections`: of `config`, `summary`, `metadata`, `packages`, `code`, `metrics` those that count; None: all.
        `keys`: only these metrics. `rtol`, `atol`: floats x and y are the same where |x - y| is at most
        rtol * max(|x|, |y|), or atol. `ignore`: patterns of what does not count, such as `summary.time/*`.
        The runs are read as they are now, and only what is looked at.

        Raises:
            CommError: could not find run; `.exc` is a ValueError.
            UsageError: an unknown section, or a tolerance below 0.
        """
        from tracker.apis.public.run_diff import RunDiff

        left, right = (self.run(one) if isinstance(one, str) else one for one in (a, b))
        return RunDiff.of(
            left.opener(), right.opener(), sections=sections, keys=keys, rtol=rtol, atol=atol, ignore=ignore
        )
