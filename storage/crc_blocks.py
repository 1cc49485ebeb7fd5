"""One checksum for many frames: do `count` payloads of one length have the crc32 that stands in their headers?

crc32 is linear: what it becomes behind n more bytes is an operator on 32 bits (as in zlib's crc32_combine). So the
checksums of the parts give that of their concatenation, which zlib computes in one call, outside the interpreter lock.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

__all__ = ["payloads_match"]

_Bits = np.ndarray  # uint32


def payloads_match(payloads: np.ndarray, starts: _Bits, stored: _Bits) -> bool:
    """Whether crc32(payloads[n], starts[n]) == stored[n] for all n; damage passes by chance once in 2**32.

    `payloads`: uint8 [count, length], contiguous. `starts`: the initial values. Both checksum arrays are uint32.
    """
    length = payloads.shape[1]
    if not length:
        return bool((starts == stored).all())
    alone = stored ^ _apply(_operator(length, 0), starts)  # as if every payload began at 0
    return zlib.crc32(payloads.data) == _combined(alone, length)


def _combined(checksums: _Bits, length: int) -> int:
    """The checksum of the concatenation of parts of `length` bytes each, from theirs: neighbours, then pairs, ..."""
    rank = 0
    while len(checksums) > 1:
        if len(checksums) % 2:  # a checksum of 0 in front changes nothing, whatever is behind it
            checksums = np.concatenate([np.zeros(1, np.uint32), checksums])
        checksums = _apply(_operator(length, rank), checksums[0::2]) ^ checksums[1::2]
        rank += 1
    return int(checksums[0])


def _apply(operator: _Bits, values: _Bits) -> _Bits:
    """`operator`: [4, 256], what each value of each byte contributes."""
    found: _Bits = operator[0][values & 255]
    for byte in (1, 2, 3):
        found = found ^ operator[byte][values >> np.uint32(8 * byte) & 255]
    return found


@lru_cache(maxsize=256)
def _operator(length: int, rank: int) -> _Bits:
    """What `length << rank` zero bytes do to a checksum, as `_apply` takes it."""
    if rank:
        half = _operator(length, rank - 1)
        return np.stack([_apply(half, half[byte]) for byte in range(4)])
    zeros = bytes(length)
    base = zlib.crc32(zeros)
    bits = np.array([zlib.crc32(zeros, 1 << bit) ^ base for bit in range(32)], np.uint32)
    table = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for bit in range(8):
            table[byte, 1 << bit : 2 << bit] = table[byte, : 1 << bit] ^ bits[8 * byte + bit]
    return table
