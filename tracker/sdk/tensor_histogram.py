"""Histograms of tensors, counted on the device that they lie on; what comes back to the host is a few hundred bytes.

`count` only queues work: it waits for no device. `histograms_of` fetches many counts at once and waits once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch

__all__ = ["BINS", "Counted", "count", "histograms_of"]

BINS: Final = 64

_PIECE: Final = {"cpu": 1 << 18}  # elements looked at together: what fits into a processor's cache,
_PIECE_ELSEWHERE: Final = 1 << 22  # or keeps a device busy at 100 MB of temporary memory
_LANES: Final = {"cpu": 1}  # counters per bin; elsewhere many, so that
_LANES_ELSEWHERE: Final = 64  # the threads of a device do not wait for one another


class Counted(NamedTuple):
    """Of one tensor, on its device: the least and greatest finite value, and int64 counts of each bin."""

    limits: Any
    counts: Any


def count(tensor: Any) -> Counted:
    """Count the finite elements in BINS bins of equal width. Sparse tensors count with their zeros (WATCH-2).

    Memory: one piece, whatever the size of the tensor. Raises what torch raises for tensors without numbers.
    """
    with torch.no_grad():
        flat, zeros = _elements(tensor.detach())
        lanes = _LANES.get(flat.device.type, _LANES_ELSEWHERE)
        limits = _limits(flat, zeros)
        counts = torch.zeros(BINS * lanes + 1, dtype=torch.int64, device=flat.device)
        one = torch.ones(1, dtype=torch.int64, device=flat.device)
        for piece in _pieces(flat):
            bins = _bins(piece, limits)
            if lanes > 1:
                bins += torch.arange(len(bins), device=bins.device).remainder_(lanes).mul_(BINS)
            finite = torch.isfinite(piece)
            bins = torch.where(finite, bins, BINS * lanes)
            counts.index_add_(0, bins, one.expand(len(bins)))
        counts = counts[:-1].view(lanes, BINS).sum(0)
        if zeros:
            at_zero = _bins(torch.zeros(1, dtype=limits.dtype, device=flat.device), limits)
            counts.index_add_(0, at_zero, one * zeros)
    return Counted(limits, counts)


def histograms_of(counted: Sequence[Counted]) -> list[dict[str, Any] | None]:
    """Histogram JSON of each, in order; None where no element was finite. Waits for each device once.

    Elements that are all the same make one bin, whose edges are that value (WATCH-2).
    """
    limits: list[tuple[float, float]] = [(0.0, 0.0)] * len(counted)
    counts: list[list[int]] = [[]] * len(counted)
    for device in {one.counts.device for one in counted}:
        here = [at for at, one in enumerate(counted) if one.counts.device == device]
        widest = torch.float32 if device.type == "mps" else torch.float64
        all_limits = torch.stack([counted[at].limits.to(widest) for at in here]).cpu().tolist()
        all_counts = torch.stack([counted[at].counts for at in here]).cpu().tolist()
        for at, low_high, per_bin in zip(here, all_limits, all_counts, strict=True):
            limits[at], counts[at] = (low_high[0], low_high[1]), per_bin
    return [_json(low, high, per_bin) for (low, high), per_bin in zip(limits, counts, strict=True)]


def _elements(tensor: Any) -> tuple[Any, int]:
    """The elements in one dimension, and how many zeros come on top of them."""
    if hasattr(tensor, "to_local"):  # a shard of a distributed tensor
        tensor = tensor.to_local()
    zeros = 0
    if tensor.layout != torch.strided:
        total = tensor.numel()
        tensor = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.values()
        zeros = total - tensor.numel()
    if tensor.is_complex():
        tensor = tensor.abs()
    return tensor.reshape(-1), zeros


def _pieces(flat: Any) -> Iterator[Any]:
    """In a floating-point type that can be computed with."""
    size = _PIECE.get(flat.device.type, _PIECE_ELSEWHERE)
    for piece in flat.split(size) if flat.numel() else ():
        yield piece if piece.dtype in (torch.float32, torch.float64) else piece.to(torch.float32)


def _limits(flat: Any, zeros: int) -> Any:
    """Least and greatest finite element as one tensor of two; (inf, -inf) without any. Zeros count where there are."""
    dtype = torch.float64 if flat.dtype == torch.float64 else torch.float32
    low = torch.full((), 0.0 if zeros else torch.inf, dtype=dtype, device=flat.device)
    high = torch.full((), 0.0 if zeros else -torch.inf, dtype=dtype, device=flat.device)
    for piece in _pieces(flat):
        finite = torch.isfinite(piece)
        low = torch.minimum(low, torch.where(finite, piece, torch.inf).amin())
        high = torch.maximum(high, torch.where(finite, piece, -torch.inf).amax())
    return torch.stack([low, high])


def _bins(piece: Any, limits: Any) -> Any:
    """The bin of each element, 0 for what has none. Halves, so that the range of the largest floats is finite."""
    low, high = limits[0] * 0.5, limits[1] * 0.5
    share = (piece * 0.5 - low) / (high - low)
    return (share * BINS).nan_to_num_(0.0).clamp_(0, BINS - 1).long()


def _json(low: float, high: float, counts: list[int]) -> dict[str, Any] | None:
    if low > high:
        return None
    if low == high:
        return {"_type": "histogram", "values": [sum(counts)], "bins": [low, high]}
    shares = [at / BINS for at in range(BINS + 1)]
    return {"_type": "histogram", "values": counts, "bins": [low * (1.0 - share) + high * share for share in shares]}
