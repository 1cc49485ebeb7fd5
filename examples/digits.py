"""Train nine small networks on scikit-learn's handwritten digits, log them, and ask questions of the store.

    python examples/digits.py                              # into ./digits-store
    python examples/digits.py --store s3://bucket/prefix   # or any other place

Every run is its own `tracker.init`: 400 steps of mini-batches, the loss at every step and the
accuracy on unseen digits every ten. At the end the script shows what `tracker query` answers.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

import tracker

PROJECT = "digits"
GRID = {"learning_rate": [0.0003, 0.003, 0.03], "hidden": [8, 32, 128]}
BATCH = 64


def train(config: dict[str, Any], steps: int, store: str, quiet: bool) -> float:
    """One run from init to finish; returns its last accuracy on digits that it never saw."""
    images, labels = load_digits(return_X_y=True)
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels
    )
    model = MLPClassifier(
        (config["hidden"],), learning_rate_init=config["learning_rate"], alpha=config["weight_decay"], random_state=0
    )
    random = np.random.default_rng(config["seed"])
    settings = tracker.Settings(base_url=store, quiet=quiet)
    with tracker.init(project=PROJECT, config=config, tags=["example"], settings=settings) as run:
        for step in range(steps):
            batch = random.choice(len(seen), BATCH, replace=False)
            model.partial_fit(seen[batch], seen_labels[batch], classes=np.arange(10))
            metrics = {"train/loss": model.loss_}
            if step % 10 == 0 or step == steps - 1:
                metrics["val/loss"] = log_loss(unseen_labels, model.predict_proba(unseen), labels=np.arange(10))
                metrics["val/acc"] = model.score(unseen, unseen_labels)
            run.log(metrics)
        run.summary["parameters"] = sum(weights.size for weights in (*model.coefs_, *model.intercepts_))
    return float(metrics["val/acc"])


def ask(*arguments: str) -> None:
    """Show the command and what it answers."""
    print(f"\n$ tracker {shlex.join(arguments)}", flush=True)
    subprocess.run([str(Path(sys.executable).with_name("tracker")), *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="digits-store", help="a directory or fsspec URL (default: ./digits-store)")
    parser.add_argument("--steps", type=int, default=400, help="steps of each run (default: 400)")
    options = parser.parse_args()

    began = time.perf_counter()
    grid = list(itertools.product(*GRID.values()))
    for number, values in enumerate(grid):
        config = dict(zip(GRID, values, strict=True)) | {"weight_decay": 1e-4, "batch": BATCH, "seed": 1}
        with threadpool_limits(1):  # the matrices are small: several threads only get in each other's way
            accuracy = train(config, options.steps, options.store, quiet=number > 0)
        print(f"learning_rate {config['learning_rate']:<7} hidden {config['hidden']:<4} accuracy {accuracy:.3f}")
    print(f"{len(grid)} runs of {options.steps} steps in {time.perf_counter() - began:.1f} s")

    here = (options.store, "--project", PROJECT)
    columns = "name,state,config.learning_rate,config.hidden,val/acc,val/loss,parameters"
    ask("query", *here, "--order", "-summary_metrics.val/acc", "--keys", columns)
    good = '{"config.learning_rate": {"$gte": 0.003}, "summary_metrics.val/acc": {"$gt": 0.95}}'
    ask("query", *here, "--filter", good, "--order", "-summary_metrics.val/acc", "--keys", columns)
    small = '{"config.hidden": {"$lte": 8}}'
    ask("query", *here, "--history", "--filter", small, "--keys", "train/loss,val/acc", "--samples", "5")
    sql = (
        'SELECT "config.hidden" AS hidden, count(*) AS runs, max("summary.val/acc") AS best '
        "FROM runs GROUP BY hidden ORDER BY hidden"
    )
    ask("query", *here, "--sql", sql)


if __name__ == "__main__":
    main()
