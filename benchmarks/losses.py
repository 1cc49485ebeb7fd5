"""What the benchmarks log: noisy curves that were float32 once, the same for every tracker and every call.

A training loop logs what its tensors held: float32 results turned into Python floats. Their last 29 bits are zero and
the rest is noise, so they compress about by half and no better; constants or round numbers would flatter every store.
"""

from __future__ import annotations

import math
import random
import struct

__all__ = ["CONFIG_OPTIMIZERS", "KEYS", "config", "rows"]

KEYS = (
    "loss",
    "accuracy",
    "val/loss",
    "val/accuracy",
    "grad_norm",
    "weight_norm",
    "lr_scale",
    "entropy",
    "perplexity",
    "throughput",
)
CONFIG_OPTIMIZERS = ("adam", "sgd", "adamw")


def rows(count: int, seed: int = 0) -> list[dict[str, float]]:
    """`count` rows of ten float32-born scalars each: decaying curves with five per cent of noise."""
    chance = random.Random(seed)
    scale = [0.5 + chance.random() for _ in KEYS]
    pack = struct.Struct("f")

    def value(column: int, row: int) -> float:
        curve = scale[column] * (0.2 + math.exp(-3.0 * row / count))
        narrowed: float = pack.unpack(pack.pack(curve * (1.0 + 0.05 * chance.gauss(0.0, 1.0))))[0]
        return narrowed

    return [{key: value(column, row) for column, key in enumerate(KEYS)} for row in range(count)]


def config(run: int) -> dict[str, object]:
    """Hyperparameters of run number `run`: floats, integers, a word and a nested tree."""
    return {
        "lr": 10.0 ** -(1 + run % 4),
        "batch_size": 16 << (run % 5),
        "optimizer": CONFIG_OPTIMIZERS[run % 3],
        "seed": run,
        "model": {"layers": 2 + run % 7, "width": 128 * (1 + run % 3), "dropout": 0.1 * (run % 4)},
    }
