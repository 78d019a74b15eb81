"""How a graph stores weights: as fp16 with a Cast, or as int8 with a scale a channel and a DequantizeLinear.

Both leave the node that uses a weight as it is, and its arithmetic in fp32: runtimes compute the weight once, when they
load the graph, or before each run. `stored_weight` reads back what a node really multiplies with.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mygo_edge.export.errors import GraphError

EIGHT_BITS = 127  # symmetric: -128 is not used, so that a weight and its negative are stored alike
SEVEN_BITS = 63  # where integers are multiplied: sums of two products stay within 16 bits on every processor


class Weight(NamedTuple):
    """Where an operator takes its weight: the index of the input, and the axis of its output channels."""

    position: int
    axis: int


WEIGHTS = {
    "Conv": Weight(1, 0),  # [out, in, kernel, kernel]
    "ConvTranspose": Weight(1, 1),  # [in, out, kernel, kernel]
    "Gemm": Weight(1, 0),  # [out, in], as all of ours have transB
    "MatMul": Weight(1, 1),  # [in, out]
    "Gather": Weight(0, 0),  # a row a class
}


def chosen_nodes(model: ModelProto, patterns: Sequence[str]) -> list[NodeProto]:
    """The nodes with weights whose name fits a pattern. Raises GraphError when a pattern fits none."""
    nodes = [node for node in model.graph.node if node.op_type in WEIGHTS]
    for pattern in patterns:
        if not any(fnmatchcase(node.name, pattern) for node in nodes):
            raise GraphError(f"the recipe names nodes {pattern!r}, and the graph has none with weights")
    return [node for node in nodes if any(fnmatchcase(node.name, pattern) for pattern in patterns)]


def weight_name(node: NodeProto) -> str:
    """The name of the value that a node takes as its weight."""
    return str(node.input[WEIGHTS[node.op_type].position])


def store_fp16(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Store the weights of `nodes` in half precision. Raises GraphError when one is too large for it."""

    def halved(name: str, value: NDArray, axis: int) -> tuple[list[TensorProto], NodeProto]:
        if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
            raise GraphError(f"{name} has weights beyond fp16's range; use another precision")
        stored = numpy_helper.from_array(value.astype(np.float16), f"{name}.fp16")
        return [stored], helper.make_node("Cast", [stored.name], [name], name=name, to=TensorProto.FLOAT)

    _replace(model.graph, nodes, halved)


def store_int8(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Store the weights of `nodes` as int8, each output channel scaled so that its largest weight is 127."""

    def rounded(name: str, value: NDArray, axis: int) -> tuple[list[TensorProto], NodeProto]:
        levels, scale = channel_levels(value, axis, EIGHT_BITS)
        stored = [numpy_helper.from_array(levels, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
        names = [tensor.name for tensor in stored]
        return stored, helper.make_node("DequantizeLinear", names, [name], name=name, axis=axis)

    _replace(model.graph, nodes, rounded)


def channel_levels(
    value: NDArray, axis: int, largest: int, finest: NDArray | float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight as int8 levels, of `largest` at most, and what a level of each output channel is, at least `finest`."""
    others = tuple(other for other in range(value.ndim) if other != axis)
    scale = np.maximum(np.abs(value).max(others) / largest, finest)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    shape = [-1 if index == axis else 1 for index in range(value.ndim)]
    return np.rint(value / scale.reshape(shape)).clip(-largest, largest).astype(np.int8), scale


# (name, value, channels' axis) -> tensors to hold, and the node that makes the value of that name from them.
_Store = Callable[[str, NDArray, int], tuple[list[TensorProto], NodeProto]]


def _replace(graph: GraphProto, nodes: Sequence[NodeProto], store: _Store) -> None:
    """Replace the weights of `nodes` by what `store` returns."""
    axes = {weight_name(node): WEIGHTS[node.op_type].axis for node in nodes}
    tensors, readers = [], []
    for tensor in graph.initializer:
        if tensor.name not in axes:
            tensors.append(tensor)
            continue
        stored, reader = store(tensor.name, numpy_helper.to_array(tensor), axes.pop(tensor.name))
        tensors += stored
        readers.append(reader)
    if axes:
        raise GraphError(f"{sorted(axes)[0]} is no weight that the graph holds in fp32")
    for field, values in ((graph.initializer, tensors), (graph.node, [*readers, *graph.node])):
        values = list(values)
        del field[:]
        field.extend(values)


def stored_weight(graph: GraphProto, node: NodeProto) -> NDArray[np.float32]:
    """The weight that a node computes with, in fp32, however the graph stores it. Raises GraphError."""
    if node.op_type == "QLinearConv":
        levels, scale = (_value(graph, name) for name in node.input[3:5])
        return levels.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
    return _value(graph, weight_name(node))


def _value(graph: GraphProto, name: str) -> NDArray[np.float32]:
    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    reader = next((node for node in graph.node if name in node.output), None)
    if reader is None or reader.op_type not in ("Cast", "DequantizeLinear"):
        raise GraphError(f"{name} is not stored as a weight")
    values = [_value(graph, source) for source in reader.input if source]
    if reader.op_type == "Cast":
        return values[0].astype(np.float32)
    levels, scale, *zero = values
    axis = next((attribute.i for attribute in reader.attribute if attribute.name == "axis"), 1)
    shape = [-1 if index == axis else 1 for index in range(levels.ndim)] if scale.size > 1 else [1] * levels.ndim
    offset = zero[0].astype(np.float32).reshape(shape) if zero else np.float32(0)
    return (levels.astype(np.float32) - offset) * scale.reshape(shape)
