"""What can go wrong between a network and its graph."""

from mygo_edge.errors import MygoEdgeError


class GraphError(MygoEdgeError):
    """A graph that must not be published."""


class PrecisionLossError(MygoEdgeError):
    """A recipe that loses more than is allowed. The message says which measure, and by how much."""
