"""`run.watch`: histograms of the gradients and parameters of torch modules, and their graph, until `unwatch`."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import term
from tracker.storage.errors import UsageError

if TYPE_CHECKING:
    from tracker.sdk.graph import Graph
    from tracker.sdk.module_graph import ModuleGraph
    from tracker.sdk.run import Run

__all__ = ["Watches"]

_KINDS: Final = ("gradients", "parameters", "all", None)


class Watches:
    """The modules that one run watches. A service of the run: its end, and a fork's child, take the hooks off."""

    def __init__(self, run: Run) -> None:
        self._recorder = run.recorder
        self._run = weakref.ref(run)
        self._watched: list[_Watched] = []
        self._next_index = 0

    def start(self) -> None:
        """Nothing is watched yet."""

    def stop(self, exit_code: int) -> None:
        """The run ends."""
        _ = exit_code
        self.remove_all()

    def after_fork(self) -> None:
        """The child's copies of the modules are not watched."""
        self.remove_all()

    def add(self, models: Any, criterion: Any, log: str | None, log_freq: int, idx: int | None, graph: bool) -> None:
        """Hook the modules. See `Run.watch` for what is checked."""
        modules = _modules(models, "watch")
        if log not in _KINDS:
            raise ValueError(f"watch(log=...) takes 'gradients', 'parameters', 'all' or None, got {log!r}.")
        if isinstance(log_freq, bool) or not isinstance(log_freq, int) or log_freq < 1:
            raise ValueError(f"watch(log_freq=...) takes a number of passes from 1 on, got {log_freq!r}.")
        if criterion is not None and not callable(criterion):
            raise ValueError(f"watch(criterion=...) takes a loss function, got {type(criterion).__name__}.")
        for module in modules:
            found = self._find(module)
            if found is not None and found.has_graph:
                raise ValueError(
                    f"The graph of this {type(module).__name__} is watched already. "
                    f"Call unwatch(model) before watching it again."
                )
        index = self._next_index if idx is None else idx
        for module in modules:
            watched = self._find(module)
            if watched is None or idx is not None:
                watched = _Watched(module, index, self._log)
                self._watched.append(watched)
                index += 1
            watched.hook(log, log_freq)
            if graph:
                watched.hook_graph(self._keep_graph)
        self._next_index = max(self._next_index, index)

    def remove(self, models: Any) -> None:
        """Unhook these modules; one that is not watched is only warned of."""
        for module in _modules(models, "unwatch"):
            found = self._find(module)
            if found is None:
                term.warn(f"unwatch: this {type(module).__name__} is not watched")
            for one in [one for one in self._watched if one.module() is module]:
                one.unhook()
                self._watched.remove(one)

    def remove_all(self) -> None:
        while self._watched:
            self._watched.pop().unhook()
        self._next_index = 0

    def _find(self, module: Any) -> _Watched | None:
        self._watched = [one for one in self._watched if one.module() is not None]
        return next((one for one in self._watched if one.module() is module), None)

    def _log(self, cells: dict[str, Any]) -> None:
        self._recorder.history.log(cells, None, False)

    def _keep_graph(self, index: int, graph: Graph) -> None:
        run = self._run()
        if run is not None:
            run.summary[f"graph_{index}"] = graph


class _Watched:
    """One module and the hooks on it and its parameters; knows it, without keeping it alive."""

    def __init__(self, module: Any, index: int, log: Any) -> None:
        from tracker.sdk.watch_hooks import TensorLog

        self.module = weakref.ref(module)
        self._index = index
        self._tensors = TensorLog(log, term.warn)
        self._handles: dict[str, list[Any]] = {}  # by what they log
        self._graph: ModuleGraph | None = None

    @property
    def has_graph(self) -> bool:
        """Whether its graph was asked for, seen by now or not."""
        return self._graph is not None

    def hook(self, kind: str | None, log_freq: int) -> None:
        """Log `kind`, and no longer as before."""
        from tracker.sdk.watch_hooks import hook_gradients, hook_parameters

        module, prefix = self.module(), f"graph_{self._index}" if self._index else ""
        for one, put_on in (("gradients", hook_gradients), ("parameters", hook_parameters)):
            if kind in (one, "all"):
                self._unhook_kind(one)
                self._handles[one] = put_on(module, self._tensors, prefix, log_freq)

    def hook_graph(self, keep: Any) -> None:
        from tracker.sdk.module_graph import ModuleGraph

        self._graph = ModuleGraph(self.module(), partial(self._graph_seen, keep))

    def unhook(self) -> None:
        """Leave the module as it was."""
        for kind in list(self._handles):
            self._unhook_kind(kind)
        if self._graph is not None:
            self._graph.remove()
            self._graph = None

    def _unhook_kind(self, kind: str) -> None:
        for handle in self._handles.pop(kind, ()):
            handle.remove()

    def _graph_seen(self, keep: Any, graph: Graph) -> None:
        try:
            keep(self._index, graph)
        except Exception as exc:  # the forward that the training waits for goes on
            term.warn(f"watch: the graph is not kept: {type(exc).__name__}: {exc}")


def _modules(models: Any, call: str) -> Sequence[Any]:
    try:
        from torch.nn import Module
    except ImportError as exc:
        raise UsageError(f'{call} needs torch, which is not installed: pip install "tracker[torch]".') from exc
    modules = list(models) if isinstance(models, tuple | list) else [models]
    for module in modules:
        if not isinstance(module, Module):
            raise ValueError(f"{call} takes torch.nn.Module objects, got {type(module).__name__}: {module!r:.80}")
    return modules
