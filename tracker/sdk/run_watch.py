"""What a run offers to watch models with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from tracker.sdk import term

if TYPE_CHECKING:
    import torch

    from tracker.sdk.recorder import Recorder
    from tracker.sdk.watch import Watches

__all__ = ["WatchCalls"]


class WatchCalls:
    """Mixed into `Run`."""

    _recorder: Recorder
    _watches: Watches | None = None

    def watch(
        self,
        models: torch.nn.Module | Sequence[torch.nn.Module],
        criterion: Any = None,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Log histograms of torch modules as they train, counted on the device where they lie.

        Every `log_freq`-th backward gives `gradients/<name>`, every `log_freq`-th forward `parameters/<name>`, in the
        row that is committed next. `<name>` is the parameter's; `graph_<idx>` stands before it where `idx` is above 0,
        which it is from the second module on. `log_graph`: after the next forward `summary["graph_<idx>"]` is a `Graph`
        of the module's parts. `criterion`, the loss function, has no effect. Watching a module again replaces the
        hooks of the same kind; do so when parameters were unfrozen or replaced. The end of the run takes all hooks off.

        Raises:
            ValueError: no module, one whose graph is watched already, or a `log` or `log_freq` that does not exist.
            UsageError: torch is not installed, or the run is finished.
        """
        self._recorder.open_writer("watch")
        if self._watches is None:
            from tracker.sdk.watch import Watches

            self._watches = Watches(self)  # type: ignore[arg-type]
            watches = self._watches
            self._recorder.services.add("watch", lambda: watches)
        self._watches.add(models, criterion, log, log_freq, idx, log_graph)

    def unwatch(self, models: torch.nn.Module | Sequence[torch.nn.Module] | None = None) -> None:
        """Take the hooks off `models`, or off all that this run watches. One that is not watched is warned of."""
        if self._watches is None:
            if models is not None:
                term.warn("unwatch: this run watches no model")
        elif models is None:
            self._watches.remove_all()
        else:
            self._watches.remove(models)
