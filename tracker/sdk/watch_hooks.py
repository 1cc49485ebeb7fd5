"""Hooks on one torch module that log histograms of its gradients and parameters.

Nothing here keeps the module alive, and nothing that is copied, pickled or replicated with it logs: only the module
that was given to `watch` does.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.nn.parameter import is_lazy

from tracker.sdk.tensor_histogram import Counted, count, histograms_of

__all__ = ["ForwardHook", "TensorLog", "hook_gradients", "hook_parameters"]

Log = Callable[[dict[str, Any]], None]  # rows' cells, joined to the next row that is committed


class TensorLog:
    """Counts tensors as hooks meet them and logs what they have become, all of one pass in one call.

    Trouble with a tensor is said once and costs that tensor's histogram, never the training.
    """

    def __init__(self, log: Log, say: Callable[[str], None]) -> None:
        self._log = log
        self._say: Callable[[str], None] | None = say
        self._lock = threading.Lock()  # a backward over several devices has a thread for each
        self._counted: dict[str, Counted] = {}

    def add(self, key: str, tensor: Any) -> None:
        """Count `tensor` under `key`, to be logged by the next `flush`. No waiting for the device."""
        try:
            if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
                return  # a graph is being recorded: what it holds is no gradient yet
            counted = count(tensor)
        except Exception as exc:  # whatever torch says of it
            self._say_once(key, exc)
            return
        with self._lock:
            self._counted[key] = counted

    def flush(self) -> None:
        """Log what was counted since the last time; nothing when there is nothing."""
        with self._lock:
            counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            values = zip(counted, histograms_of(list(counted.values())), strict=True)
            self._log({key: value for key, value in values if value is not None})
        except Exception as exc:
            self._say_once(next(iter(counted)), exc)

    def flush_after_backward(self) -> None:
        """The same when the backward that is under way is complete."""
        try:
            torch.autograd.Variable._execution_engine.queue_callback(self.flush)
        except (AttributeError, RuntimeError):  # an engine without callbacks
            self.flush()

    def _say_once(self, key: str, exc: Exception) -> None:
        say, self._say = self._say, None
        if say is not None:
            say(f"watch: no histogram of {key}: {type(exc).__name__}: {exc} (said once)")


def hook_gradients(module: Any, log: TensorLog, prefix: str, log_freq: int) -> list[Any]:
    """Log every `log_freq`-th gradient of each parameter that has one (WATCH-3). Returns the handles of the hooks."""
    handles: list[Any] = []
    waiting: list[tuple[str, Any]] = []  # for their shape, which the first forward tells

    def hook(name: str, parameter: Any) -> None:
        handles.append(parameter.register_hook(_gradient_hook(log, f"gradients/{prefix}{name}", log_freq)))

    def after_forward(_own: Any, _given: Any, _outputs: Any) -> None:
        while waiting and not is_lazy(waiting[-1][1]):
            hook(*waiting.pop())
        if not waiting:
            handles[0].remove()

    for name, parameter in module.named_parameters():
        if parameter.requires_grad and is_lazy(parameter):
            waiting.append((name, parameter))
    if waiting:
        handles.append(module.register_forward_hook(ForwardHook(module, after_forward)))
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and not is_lazy(parameter):
            hook(name, parameter)
    return handles


def hook_parameters(module: Any, log: TensorLog, prefix: str, log_freq: int) -> list[Any]:
    """Log all parameters at every `log_freq`-th forward of `module` (WATCH-3). Returns the handles of the hooks."""
    left = [log_freq]

    def after_forward(own: Any, _given: Any, _outputs: Any) -> None:
        left[0] -= 1
        if left[0] > 0:
            return
        left[0] = log_freq
        for name, parameter in own.named_parameters():
            if not is_lazy(parameter):
                log.add(f"parameters/{prefix}{name}", parameter)
        log.flush()

    return [module.register_forward_hook(ForwardHook(module, after_forward))]


class ForwardHook:
    """Calls `call(module, given, outputs)` after the forward of this very module, outside of what torch.compile traces;
    `given`: positional arguments, and with `with_kwargs` the named ones.

    A copy of the module, made by copying or pickling, gets a hook that does nothing; a replica that DataParallel makes
    counts as the module on the device where the module is.
    """

    def __init__(self, module: Any, call: Callable[[Any, Any, Any], None]) -> None:
        self._module = weakref.ref(module)
        self._call = call

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, module: Any, *given_and_outputs: Any) -> None:
        own = self._module()
        if own is None or (module is not own and not _is_first_replica(module, own)):
            return
        *given, outputs = given_and_outputs
        self._call(own, given, outputs)

    def __deepcopy__(self, _: dict[int, Any]) -> Any:
        return _IDLE

    def __reduce__(self) -> tuple[Any, ...]:
        # of the standard library, so that the file of a model loads where there is no tracker
        return getattr, (contextlib.nullcontext(), "__exit__")


_IDLE: Final = contextlib.nullcontext().__exit__  # takes any arguments and answers None


def _gradient_hook(log: TensorLog, key: str, log_freq: int) -> Callable[[Any], None]:
    left = log_freq

    def on_gradient(gradient: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            left = log_freq
            log.add(key, gradient)
            log.flush_after_backward()

    return on_gradient


def _is_first_replica(module: Any, own: Any) -> bool:
    if not getattr(module, "_is_replica", False):
        return False
    return bool(_device_of(module) == next((parameter.device for parameter in own.parameters()), None))


def _device_of(replica: Any) -> Any:
    """Where a replica is; its parameters are plain attributes."""
    for part in replica.modules():
        for tensor in getattr(part, "_former_parameters", {}).values():
            return tensor.device
    return None
