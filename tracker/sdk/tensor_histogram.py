"""Histograms of tensors, counted on the device that they lie on; what comes back to the host is a few hundred bytes.

`count` only queues work on a device and does not wait for it. `histograms_of` fetches many counts at once and waits
once. In the processor's memory numpy counts, in one thread: torch's many small parallel steps wait for each other
where the processor has other work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch

__all__ = ["BINS", "Counted", "count", "histograms_of"]

BINS: Final = 64

_PIECE: Final = 1 << 22  # elements looked at together: keeps a device busy, in 100 MB of temporary memory
_LANES: Final = 64  # counters per bin, so that the threads of a device do not wait for one another
_BLOCK: Final = 1 << 15  # the same where the processor counts: what its cache holds


class Counted(NamedTuple):
    """Of one tensor, on its device: the least and greatest finite value, and int64 counts of each bin."""

    limits: Any
    counts: Any


def count(tensor: Any) -> Counted:
    """Count the finite elements in BINS bins of equal width. Sparse tensors count with their zeros (WATCH-2).

    Temporary memory is that of one piece, whatever the size of the tensor. Raises what torch raises for tensors
    without numbers.
    """
    with torch.no_grad():
        flat, zeros = _elements(tensor.detach())
        return _count_here(flat, zeros) if flat.device.type == "cpu" else _count_there(flat, zeros)


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


def _count_here(flat: Any, zeros: int) -> Counted:
    """In the processor's memory."""
    import numpy as np

    values = _computable(flat).numpy()
    low, high = (float(values.min()), float(values.max())) if values.size else (math.inf, -math.inf)
    if values.size and not (math.isfinite(low) and math.isfinite(high)):
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if values.size else (math.inf, -math.inf)
    if zeros:
        low, high = min(low, 0.0), max(high, 0.0)
    counts = np.zeros(BINS, np.int64)
    if low < high:
        half_low, half_range = low / 2, high / 2 - low / 2  # halves, so that the range of the largest is finite
        for start in range(0, values.size, _BLOCK):
            share = (values[start : start + _BLOCK].astype(np.float64) / 2 - half_low) / half_range
            counts += np.bincount(np.minimum((share * BINS).astype(np.intp), BINS - 1), minlength=BINS)
        if zeros:
            counts[min(int(-half_low / half_range * BINS), BINS - 1)] += zeros
    elif low == high:
        counts[0] = values.size + zeros
    return Counted(torch.tensor([low, high], dtype=torch.float64), torch.from_numpy(counts))


def _count_there(flat: Any, zeros: int) -> Counted:
    """On a device, without waiting for it."""
    limits = _limits(flat, zeros)
    counts = torch.zeros(BINS * _LANES + 1, dtype=torch.int64, device=flat.device)
    one = torch.ones(1, dtype=torch.int64, device=flat.device)
    for piece in _pieces(flat):
        bins = _bins(piece, limits)
        bins += torch.arange(len(bins), device=bins.device).remainder_(_LANES).mul_(BINS)
        bins = torch.where(torch.isfinite(piece), bins, BINS * _LANES)
        counts.index_add_(0, bins, one.expand(len(bins)))
    counts = counts[:-1].view(_LANES, BINS).sum(0)
    if zeros:
        at_zero = _bins(torch.zeros(1, dtype=limits.dtype, device=flat.device), limits)
        counts.index_add_(0, at_zero, one * zeros)
    return Counted(limits, counts)


def _pieces(flat: Any) -> Iterator[Any]:
    for piece in flat.split(_PIECE) if flat.numel() else ():
        yield _computable(piece)


def _computable(flat: Any) -> Any:
    """In a floating-point type that all devices compute with."""
    return flat if flat.dtype in (torch.float32, torch.float64) else flat.to(torch.float32)


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
