"""`Histogram`: counts per bin, logged in place of the values that were counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tracker.sdk.media import InlineValue

__all__ = ["Histogram"]


class Histogram(InlineValue):
    """`histogram[i]` values lie between `bins[i]` and `bins[i + 1]`; the last bin holds its upper edge too."""

    MAX_LENGTH: ClassVar[int] = 512

    def __init__(
        self,
        sequence: Sequence[Any] | None = None,
        np_histogram: tuple[Sequence[Any], Sequence[Any]] | None = None,
        num_bins: int = 64,
    ) -> None:
        """Count the finite values of `sequence` (any numbers, or an array or tensor of any shape) in `num_bins` bins
        of equal width from their least to their greatest; or take `np_histogram`, counts and edges, as it is (HG-1).

        Values that are all the same lie in bins from half below to half above; without any finite value all
        counts are 0, from 0 to 1.

        Raises:
            ValueError: neither is given, more than 512 bins, or counts and edges that do not belong together (HG-2).
            TypeError: values that are no numbers.
        """
        if np_histogram is not None:
            if len(np_histogram) != 2:
                raise ValueError(f"np_histogram takes two sequences, counts and edges, got {len(np_histogram)}.")
            self.histogram, self.bins = _plain(np_histogram[0]), _plain(np_histogram[1])
        elif sequence is None:
            raise ValueError("Histogram needs a sequence of numbers, or np_histogram=(counts, edges).")
        else:
            if not 1 <= num_bins <= self.MAX_LENGTH:
                raise ValueError(f"num_bins must be between 1 and {self.MAX_LENGTH}, got {num_bins}.")
            self.histogram, self.bins = _count(sequence, num_bins)
        if len(self.histogram) > self.MAX_LENGTH:
            raise ValueError(f"A histogram has at most {self.MAX_LENGTH} bins, got {len(self.histogram)}.")
        if len(self.histogram) + 1 != len(self.bins):
            raise ValueError(
                f"{len(self.histogram)} counts need {len(self.histogram) + 1} edges, got {len(self.bins)}."
            )

    def to_json(self, run_or_artifact: Any = None) -> dict[str, Any]:
        """`{"_type": "histogram", "values": counts, "bins": edges}`."""
        _ = run_or_artifact
        return {"_type": "histogram", "values": list(self.histogram), "bins": list(self.bins)}

    @classmethod
    def from_json(cls, json_obj: dict[str, Any], source_artifact: Any = None) -> Histogram:
        """The histogram that `to_json` wrote. Raises KeyError for another dict."""
        _ = source_artifact
        return cls(np_histogram=(json_obj["values"], json_obj["bins"]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return (self.histogram, self.bins) == (other.histogram, other.bins)

    def __hash__(self) -> int:
        return hash((tuple(self.histogram), tuple(self.bins)))

    def __repr__(self) -> str:
        return f"Histogram({sum(self.histogram)} values in {len(self.histogram)} bins)"


def _plain(values: Any) -> list[Any]:
    """A sequence or array of numbers as Python numbers."""
    from tracker.sdk.arrays import array_of, is_array

    plain = array_of(values).reshape(-1).tolist() if is_array(values) else list(values)
    return [value.item() if hasattr(value, "item") else value for value in plain]


def _count(sequence: Any, bins: int) -> tuple[list[Any], list[Any]]:
    import numpy as np

    from tracker.sdk.arrays import array_of, is_array

    try:
        array = array_of(sequence) if is_array(sequence) else np.asarray(sequence)
        flat = array.reshape(-1).astype(np.float64)
    except (TypeError, ValueError) as exc:
        raise TypeError(f"Histogram counts numbers: {exc}.") from None
    counts, edges = np.histogram(flat[np.isfinite(flat)], bins=bins)
    return counts.tolist(), edges.tolist()
