"""`Graph`: the nodes and edges of a model, logged as one JSON file (GRAPH-1)."""

from __future__ import annotations

import json
import sys
from typing import Any, ClassVar

from tracker.sdk.media import MediaFile, MediaPlace

__all__ = ["Edge", "Graph", "Node"]

_FIELDS = ("id", "name", "class_name", "size", "parameters", "output_shape", "is_output", "num_parameters")


class Node:
    """One operation of a model. Every property may be None; `node` is the object it stands for and is not stored."""

    def __init__(
        self,
        id: int | str | None = None,
        name: str | None = None,
        class_name: str | None = None,
        size: Any = None,
        parameters: Any = None,
        output_shape: Any = None,
        is_output: bool | None = None,
        num_parameters: Any = None,
        node: Any = None,
    ) -> None:
        """`size`, `output_shape`: lengths of the dimensions, or a list of such. `parameters`: (name, shape) pairs."""
        self.id = id
        self.name = name
        self.class_name = class_name
        self.size = size
        self.parameters = parameters
        self.output_shape = output_shape
        self.is_output = is_output
        self.num_parameters = num_parameters
        self.node = node

    def to_json(self) -> dict[str, Any]:
        """The properties that are set."""
        return {name: getattr(self, name) for name in _FIELDS if getattr(self, name) is not None}

    def __repr__(self) -> str:
        return f"Node({self.id!r}, {self.class_name or self.name!r})"


class Edge:
    """From one node to another."""

    def __init__(self, from_node: Node, to_node: Node) -> None:
        self.from_node = from_node
        self.to_node = to_node

    def to_json(self) -> list[Any]:
        """The two ids."""
        return [self.from_node.id, self.to_node.id]

    def __repr__(self) -> str:
        return f"Edge({self.from_node.id!r} -> {self.to_node.id!r})"


class Graph(MediaFile):
    """Nodes in the order they were added, and directed edges between them. Nodes without an id are numbered."""

    log_type: ClassVar[str] = "graph-file"
    folder: ClassVar[str] = "media/graph"

    def __init__(self, format: str = "keras") -> None:
        """`format` names the library the model comes from."""
        super().__init__(b"", ".graph.json")
        self.format = format
        self.nodes: list[Node] = []
        self.nodes_by_id: dict[Any, Node] = {}
        self.edges: list[Edge] = []

    def add_node(self, node: Node | Any = None, **node_kwargs: Any) -> Node:
        """Append `node`, or one made of the properties given, and return it.

        Raises:
            TypeError: a property that nodes do not have.
            ValueError: a node with that id is there already.
        """
        if not isinstance(node, Node) or node_kwargs:
            node = Node(node=node, **node_kwargs)
        if node.id is None:
            node.id = len(self.nodes)
        if node.id in self.nodes_by_id:
            raise ValueError(f"The graph has a node with the id {node.id!r} already.")
        self.nodes.append(node)
        self.nodes_by_id[node.id] = node
        return node

    def add_edge(self, from_node: Node, to_node: Node) -> Edge:
        """Connect two nodes and return the edge."""
        edge = Edge(from_node, to_node)
        self.edges.append(edge)
        return edge

    def __getitem__(self, nid: Any) -> Node:
        """The node with this id. Raises KeyError."""
        return self.nodes_by_id[nid]

    def pprint(self) -> None:
        """Write the nodes to standard error, a line each."""
        for node in self.nodes:
            shape = "" if node.output_shape is None else f" -> {node.output_shape}"
            print(f"{node.id}: {node.name} ({node.class_name}){shape}", file=sys.stderr)

    @classmethod
    def from_keras(cls, model: Any) -> Graph:
        """Layers become nodes, and what feeds a layer an edge into it. Works on Keras 2 and 3, and loads neither."""
        graph = cls("keras")
        for layer in model.layers:
            graph.add_node(_keras_node(layer))
        for layer in model.layers:
            for feeder in _keras_feeders(layer):
                if feeder.name in graph.nodes_by_id:
                    graph.add_edge(graph[feeder.name], graph[layer.name])
        if not graph.edges:  # a plain sequence says nothing of who feeds whom
            for before, after in zip(graph.nodes, graph.nodes[1:], strict=False):
                graph.add_edge(before, after)
        return graph

    def to_json(self, run_or_artifact: Any = None) -> dict[str, Any]:
        """The contents of the file: `format`, `nodes` and `edges` as pairs of ids."""
        _ = run_or_artifact
        return {
            "format": self.format,
            "nodes": [node.to_json() for node in self.nodes],
            "edges": [edge.to_json() for edge in self.edges],
        }

    def as_json(self, key: str, place: MediaPlace | None) -> dict[str, Any]:
        """Keep the graph as it is now."""
        self.source = json.dumps(self.to_json(), default=str).encode()
        return super().as_json(key, place)


def _keras_node(layer: Any) -> Node:
    try:
        parameters = int(layer.count_params())
    except (ValueError, AttributeError):  # not built, or no layer of Keras
        parameters = None
    shape = getattr(layer, "output_shape", None)
    if shape is None:
        shape = getattr(getattr(layer, "output", None), "shape", None)
    return Node(
        id=layer.name,
        name=layer.name,
        class_name=type(layer).__name__,
        output_shape=_plain_shape(shape),
        num_parameters=parameters,
        node=layer,
    )


def _keras_feeders(layer: Any) -> list[Any]:
    """The layers whose outputs this one takes."""
    calls = getattr(layer, "_inbound_nodes", ())
    parents = [parent for call in calls for parent in getattr(call, "parent_nodes", ())]
    feeders = [getattr(parent, "operation", None) or getattr(parent, "layer", None) for parent in parents]
    return [feeder for feeder in feeders if feeder is not None]


def _plain_shape(shape: Any) -> Any:
    if shape is None:
        return None
    if isinstance(shape, dict):
        return {str(name): _plain_shape(one) for name, one in shape.items()}
    return [_plain_shape(one) if isinstance(one, tuple | list) else one if one is None else int(one) for one in shape]
