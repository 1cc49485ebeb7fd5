"""The graph of a torch module, seen during one forward: which parts ran, and whose outputs each was given."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch

from tracker.sdk.graph import Graph, Node
from tracker.sdk.watch_hooks import ForwardHook

__all__ = ["ModuleGraph"]

_STEPS_MAX: Final = 100_000  # of all walks from an input back to what made it


class ModuleGraph:
    """Hooks on the parts of a module until its next forward is complete; then `done(graph)` is called, once.

    A node is a part that has no parts itself, or parameters of its own. An edge says that a tensor got from one to the
    other, also through functions that are no modules, as far as autograd recorded them. No tensor is kept alive.
    """

    def __init__(self, module: Any, done: Callable[[Graph], None]) -> None:
        self._graph = Graph("torch")
        self._done = done
        self._tensors: dict[int, tuple[weakref.ref[Any], Node]] = {}  # outputs by their id
        self._functions: dict[Any, Node] = {}  # of autograd, that made the outputs
        self._steps_left = _STEPS_MAX
        self._handles: list[Any] = []
        parts = [(name, part) for name, part in module.named_modules() if part is not module]
        for name, part in parts or [(type(module).__name__, module)]:
            if part._parameters or not any(True for _ in part.children()):
                hook = ForwardHook(part, partial(self._after_part, name))
                self._handles.append(part.register_forward_hook(hook, with_kwargs=True))
        self._handles.append(module.register_forward_hook(ForwardHook(module, self._after_all)))

    def remove(self) -> None:
        """Take the hooks off and let go of what was seen."""
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()
        self._tensors.clear()
        self._functions.clear()

    def _after_part(self, name: str, part: Any, given: Any, outputs: Any) -> None:
        made = list(_tensors_in(outputs))
        node = self._graph.nodes_by_id.get(name) or self._graph.add_node(_node_of(name, part, made))
        known = {(edge.from_node.id, edge.to_node.id) for edge in self._graph.edges if edge.to_node is node}
        for maker in {maker.id: maker for tensor in _tensors_in(given) for maker in self._makers_of(tensor)}.values():
            if maker is not node and (maker.id, node.id) not in known:
                self._graph.add_edge(maker, node)
        for tensor in made:
            self._tensors[id(tensor)] = (weakref.ref(tensor), node)
            if tensor.grad_fn is not None:
                self._functions[tensor.grad_fn] = node

    def _after_all(self, _module: Any, _given: Any, outputs: Any) -> None:
        for tensor in _tensors_in(outputs):
            for node in self._makers_of(tensor):
                node.is_output = True
        self.remove()
        self._done(self._graph)

    def _makers_of(self, tensor: Any) -> Iterator[Node]:
        """The nodes that `tensor` comes from, without another one between."""
        known = self._tensors.get(id(tensor))
        if known is not None and known[0]() is tensor:
            yield known[1]
            return
        functions, seen = [tensor.grad_fn], {None}
        while functions and self._steps_left:
            function = functions.pop()
            if function in seen:
                continue
            seen.add(function)
            self._steps_left -= 1
            if function in self._functions:
                yield self._functions[function]
            else:
                functions.extend(before for before, _ in function.next_functions)


def _tensors_in(value: Any, depth: int = 0) -> Iterator[Any]:
    """The tensors in nested tuples, lists, dicts and dataclass-like outputs."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors_in(list(value.values()), depth)
    elif isinstance(value, tuple | list) and depth < 8:
        for item in value:
            yield from _tensors_in(item, depth + 1)
    elif hasattr(value, "__dataclass_fields__") and depth < 8:
        yield from _tensors_in(list(vars(value).values()), depth + 1)


def _node_of(name: str, part: Any, made: list[Any]) -> Node:
    own = [(name, list(parameter.shape)) for name, parameter in part.named_parameters(recurse=False)]
    shapes = [list(tensor.shape) for tensor in made]
    return Node(
        id=name,
        name=name,
        class_name=type(part).__name__,
        parameters=own,
        num_parameters=sum(parameter.numel() for parameter in part.parameters(recurse=False)),
        output_shape=shapes[0] if len(shapes) == 1 else shapes,
    )
