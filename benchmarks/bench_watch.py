"""`watch(log="all")` on a model of ResNet-18's size: at log_freq 100 at most 5 % of a training step.

Scale: 11.7 million parameters in 62 tensors, images of 32 x 32 pixels, SGD with momentum. One model is trained five
steps without `watch` and five with it, by turns; the last of the five logs. The cost of a step at log_freq 100 is what
a watched step that does not log takes longer than an unwatched one, plus a hundredth of what a logging step takes
longer. Each is the fastest of its kind. Without a CUDA device one thread trains, and its processor time is measured, so
that other load does not count; on a device batches are larger, and the clock is the wall's. `run.log` is in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad

__all__ = ["NAME", "figures", "steps"]

NAME: Final = "watch"
_LOG_FREQ: Final = 100
_ROUND: Final = 5


def figures(bench: Bench) -> Iterator[Figure]:
    """The share of a step, and the two parts that it consists of."""
    load = OtherLoad()
    answer = bench.call("tracker", "bench_watch", "steps", rounds=8 if bench.quick else 40)
    share = load.share()
    step_s, idle_s, logging_s = answer["step"], answer["watched"], answer["logging"]
    note = f"{answer['parameters']:,} parameters on {answer['device']}; a step takes {step_s * 1e3:.0f} ms"
    cost_s = max(0.0, idle_s - step_s) + max(0.0, logging_s - idle_s) / _LOG_FREQ
    yield Figure(
        benchmark=NAME,
        name="watch(log='all', log_freq=100), share of a step",
        value=100 * cost_s / step_s,
        unit="%",
        limit=5.0,
        note=note,
        other_load=share,
    )
    yield Figure(
        benchmark=NAME,
        name="what a step that logs 124 histograms takes longer",
        value=max(0.0, logging_s - idle_s),
        unit="ms",
        limit=None,
        note=f"on {answer['device']}",
        other_load=share,
    )


def steps(subject: str, rounds: int) -> dict[str, Any]:
    """Child: the fewest seconds of unwatched steps, of watched ones, and of watched ones that log."""
    import torch

    import tracker

    _ = subject
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    run = tracker.init(project="bench", settings={"x_disable_stats": True})
    trainer = _Trainer(_resnet18(), device, run.log)
    took: dict[str, list[float]] = {"step": [], "watched": [], "logging": []}
    for _ in range(3):  # slow: memory is fetched, kernels are chosen
        trainer.step()
    for _ in range(rounds):
        took["step"] += [trainer.step() for _ in range(_ROUND)]
        run.watch(trainer.model, log="all", log_freq=_ROUND)
        took["watched"] += [trainer.step() for _ in range(_ROUND - 1)]
        took["logging"].append(trainer.step())
        run.unwatch()
    run.finish()
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    return {name: min(seconds) for name, seconds in took.items()} | {"parameters": parameters, "device": device}


class _Trainer:
    def __init__(self, model: Any, device: str, log: Callable[[dict[str, Any]], None]) -> None:
        import torch

        self.model = model.to(device)
        self._log = log
        self._clock = time.perf_counter if device == "cuda" else time.thread_time
        self._wait = torch.cuda.synchronize if device == "cuda" else lambda: None
        batch = 256 if device == "cuda" else 8
        self._images = torch.randn(batch, 3, 32, 32, device=device)
        self._labels = torch.randint(0, 1000, (batch,), device=device)
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self._loss = torch.nn.CrossEntropyLoss()

    def step(self) -> float:
        """Seconds of one step."""
        self._wait()
        began = self._clock()
        loss = self._loss(self.model(self._images), self._labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._log({"loss": loss.item()})
        self._wait()
        return self._clock() - began


def _resnet18() -> Any:
    """The layers of ResNet-18 with 1,000 classes."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels_in: int, channels: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.relu = nn.ReLU(inplace=True)
            self.shortcut: nn.Module = nn.Identity()
            if stride != 1 or channels_in != channels:
                conv = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(channels))

        def forward(self, x: Any) -> Any:
            inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(inner + self.shortcut(x))

    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels_in = 64
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels_in, channels, stride), Block(channels, channels, 1)]
        channels_in = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))
