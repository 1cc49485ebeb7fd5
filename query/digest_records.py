"""What a digest says, as the records of a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tracker.query.part_digest import PartDigest
from tracker.query.run_files import Head, KeyStats, Mark

__all__ = ["DigestRecords"]


@dataclass(frozen=True, slots=True)
class DigestRecords:
    """PartRecords of a digest, but for markers and series: whoever holds the file knows these."""

    digest: PartDigest

    @property
    def keys(self) -> Mapping[str, KeyStats]:
        return self.digest.keys

    @property
    def facts(self) -> pa.Table:
        return self.digest.facts

    @property
    def last(self) -> pa.Table:
        return self.digest.last

    @property
    def open(self) -> pa.Table:
        return self.digest.open

    @property
    def system(self) -> pa.Table:
        return self.digest.system

    @property
    def figures(self) -> pa.Table:
        return self.digest.figures

    @property
    def open_figures(self) -> pa.Table:
        return self.digest.open_figures

    @property
    def head(self) -> Head | None:
        return self.digest.head

    @property
    def first_hlc_us(self) -> int | None:
        return self.digest.first_hlc_us

    @property
    def wall_max_us(self) -> int:
        return self.digest.wall_max_us

    def last_mark(self) -> Mark | None:
        return self.digest.mark
