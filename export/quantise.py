"""Convolutions that multiply integers: of a classifier's graph, those between two ReLUs.

What enters and leaves them is never negative, so that uint8 with a zero point of 0 holds it, and cutting at 0 is the
ReLU. Max-pools work on these integers too. The operator is ONNX's own QLinearConv; onnxruntime's quantiser would
write the same with floats between quantised and dequantised values, which its optimiser moves across max-pools into a
layout that has no fast one.

Rounding the weights shifts what a convolution gives on average, since what it takes is never negative; the bias takes
that back (Nagel et al. 2019, arXiv:1906.04721, section 4.2, with averages over dreams).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mygo_edge.device.session import Graph
from mygo_edge.export.errors import GraphError
from mygo_edge.export.storage import SEVEN_BITS, channel_levels

_BATCH = 100  # images a calibration step
_LEVELS = 255  # of an activation, above 0
_LARGEST_BIAS = 2**30  # as int32, with room for the products that are added to it


class Range(NamedTuple):
    """Of a quantised activation: its name in the fp32 graph, the value of one of its 255 levels, and its average over
    samples [channels, height, width]."""

    activation: str
    scale: float
    average: NDArray[np.float32]

    @property
    def largest(self) -> float:
        """What is not clipped."""
        return self.scale * _LEVELS


class Quantised(NamedTuple):
    """A convolution's ranges of input and output, and its bias as the integers hold it."""

    input: Range
    output: Range
    bias: NDArray[np.float32]


def quantise(
    model: ModelProto, nodes: Sequence[NodeProto], pixels: NDArray[np.uint8]
) -> tuple[ModelProto, dict[str, Quantised]]:
    """The graph with these convolutions in integers, and what is known of each by its name.

    Weights become int8 a channel, of seven bits, so that no processor's 16-bit sums of products saturate; activations
    uint8 by the range that they have on `pixels`. What other nodes take is made float again.

    Raises:
        GraphError: a node is no convolution before a ReLU, or takes what can be negative.
    """
    rectified = {name: _relu_after(model, node) for name, node in _by_name(nodes).items()}
    ranges = _ranges(
        model, {*(node.input[0] for node in nodes), *(relu.output[0] for relu in rectified.values())}, pixels
    )
    writer = _Writer(model, ranges)
    dropped = {relu.name for relu in rectified.values()}
    for node in model.graph.node:
        if node.name in rectified:
            writer.convolution(node, rectified[node.name].output[0])
        elif node.op_type == "MaxPool" and node.input[0] in writer.integers:
            writer.pool(node)
        elif node.name not in dropped:
            writer.other(node)
    return writer.finished(), writer.found


def _by_name(nodes: Sequence[NodeProto]) -> dict[str, NodeProto]:
    return {str(node.name): node for node in nodes}


def _relu_after(model: ModelProto, node: NodeProto) -> NodeProto:
    """The ReLU that alone takes what a convolution gives. Raises GraphError."""
    takers = [other for other in model.graph.node if node.output[0] in other.input]
    if node.op_type != "Conv" or [taker.op_type for taker in takers] != ["Relu"]:
        raise GraphError(f"{node.name} is no convolution before a ReLU alone, so it is not quantised")
    return takers[0]


def _ranges(model: ModelProto, activations: set[str], pixels: NDArray[np.uint8]) -> dict[str, Range]:
    """The range of each activation on `pixels`. Raises GraphError for one that can be negative."""
    highest: dict[str, float] = {}
    sums: dict[str, NDArray] = {}
    for values in _watched(model, sorted(activations), pixels):
        for name, part in values.items():
            if part.min() < 0:
                raise GraphError(f"{name} can be negative, so the convolution that takes it is not quantised")
            highest[name] = max(highest.get(name, 0.0), float(part.max()))
            sums[name] = sums.get(name, 0) + part.sum(0, dtype=np.float64)
    scales = {name: float(np.float32((high or 1.0) / _LEVELS)) for name, high in highest.items()}
    return {name: Range(name, scales[name], (sums[name] / len(pixels)).astype(np.float32)) for name in highest}


def coverage(model: ModelProto, ranges: Mapping[str, Range], pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Share of each activation's values on `pixels` that its range holds without clipping, by activation.

    Args:
        model: in fp32, with the activations by the names that the ranges have.
    """
    inside, total = dict.fromkeys(ranges, 0.0), dict.fromkeys(ranges, 0)
    for values in _watched(model, sorted(ranges), pixels):
        for name, part in values.items():
            margin = ranges[name].scale / 2  # what rounds to the last level
            inside[name] += float((part <= ranges[name].largest + margin).sum())
            total[name] += part.size
    return {name: inside[name] / total[name] for name in ranges}


def _watched(
    model: ModelProto, names: Sequence[str], pixels: NDArray[np.uint8]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Values of the graph by name, batch by batch."""
    watched = ModelProto()
    watched.CopyFrom(model)
    for name in names:
        watched.graph.output.add(name=name).type.tensor_type.elem_type = TensorProto.FLOAT
    graph = Graph(watched.SerializeToString(), "the classifier, watched")
    for batch in np.split(pixels, range(_BATCH, len(pixels), _BATCH)):
        yield dict(zip(names, graph.run(names, {"image": batch}), strict=True))


def _levels(
    node: NodeProto, weight: NDArray[np.float32], bias: NDArray[np.float32], entering: Range
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """Of a convolution: weight as int8, what a level of each channel is, and bias in levels of products."""
    # Not so fine that the bias would be no int32: a channel of all but no weights.
    finest = np.abs(bias) / (entering.scale * _LARGEST_BIAS)
    levels, scale = channel_levels(weight, 0, SEVEN_BITS, finest)
    off = torch.from_numpy(levels * scale[:, None, None, None] - weight)
    how = {attribute.name: tuple(attribute.ints) for attribute in node.attribute}
    given = torch.nn.functional.conv2d(
        torch.from_numpy(entering.average)[None],
        off,
        stride=how["strides"],
        padding=how["pads"][:2],
        dilation=how["dilations"],
        groups=next(attribute.i for attribute in node.attribute if attribute.name == "group"),
    )
    shift = given.mean((0, 2, 3)).numpy()
    return levels, scale, np.rint((bias - shift) / (scale.astype(np.float64) * entering.scale)).astype(np.int32)


class _Writer:
    """Nodes of the quantised graph, in order. integers: fp32 value -> what holds it in uint8, and that one's scale."""

    def __init__(self, model: ModelProto, ranges: Mapping[str, Range]) -> None:
        self.model, self.ranges = model, ranges
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        self.integers: dict[str, tuple[str, str]] = {}
        self.floats: set[str] = set()  # of these, what was made float again
        self.found: dict[str, Quantised] = {}
        self._hold("uint8.zero", np.uint8(0))

    def convolution(self, node: NodeProto, rectified: str) -> None:
        """Append a convolution with the ReLU after it."""
        taken = self._integer(node.input[0])
        given = self._scale(rectified)
        weight, bias = (numpy_helper.to_array(self.tensors.pop(name)) for name in node.input[1:3])
        entering, leaving = self.ranges[node.input[0]], self.ranges[rectified]
        levels, scale, bias_levels = _levels(node, weight, bias, entering)
        names = [
            self._hold(f"{node.input[1]}.int8", levels),
            self._hold(f"{node.input[1]}.scale", scale),
            self._hold(f"{node.input[1]}.zero", np.zeros(len(levels), np.int8)),
        ]
        inputs = [*taken, "uint8.zero", *names, given, "uint8.zero", self._hold(f"{node.input[2]}.int32", bias_levels)]
        integer = f"{rectified}.uint8"
        made = helper.make_node("QLinearConv", inputs, [integer], name=node.name)
        made.attribute.extend(node.attribute)
        self.nodes.append(made)
        self.integers[rectified] = integer, given
        stored = bias_levels * (scale.astype(np.float64) * entering.scale)
        self.found[str(node.name)] = Quantised(entering, leaving, stored.astype(np.float32))

    def pool(self, node: NodeProto) -> None:
        """Append a max-pool of integers."""
        taken, scale = self.integers[node.input[0]]
        output = str(node.output[0])
        made = helper.make_node("MaxPool", [taken], [f"{output}.uint8"], name=node.name)
        made.attribute.extend(node.attribute)
        self.nodes.append(made)
        self.integers[output] = f"{output}.uint8", scale

    def other(self, node: NodeProto) -> None:
        """Append a node of floats."""
        for name in node.input:
            if name in self.integers and name not in self.floats:
                inputs = [*self.integers[name], "uint8.zero"]
                self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}.float"))
                self.floats.add(name)
        self.nodes.append(node)

    def finished(self) -> ModelProto:
        model = ModelProto()
        model.CopyFrom(self.model)
        for field, values in ((model.graph.node, self.nodes), (model.graph.initializer, self.tensors.values())):
            values = list(values)
            del field[:]
            field.extend(values)
        onnx.checker.check_model(model)
        return model

    def _integer(self, name: str) -> tuple[str, str]:
        """The value that holds this one in uint8, made where there is none yet, and its scale."""
        if name not in self.integers:
            integer, scale = f"{name}.uint8", self._scale(name)
            self.nodes.append(helper.make_node("QuantizeLinear", [name, scale, "uint8.zero"], [integer], name=integer))
            self.integers[name] = integer, scale
            self.floats.add(name)
        return self.integers[name]

    def _scale(self, name: str) -> str:
        return self._hold(f"{name}.scale", np.float32(self.ranges[name].scale))

    def _hold(self, name: str, value: NDArray | np.generic) -> str:
        self.tensors[name] = numpy_helper.from_array(np.asarray(value), name)
        return name
