"""`tracker.data_types`: what can be logged besides plain values and arrays."""

from __future__ import annotations

from tracker.sdk.graph import Edge, Graph, Node
from tracker.sdk.histogram import Histogram

__all__ = ["Edge", "Graph", "Histogram", "Node"]
