"""onnxruntime's static quantiser, given our nodes and our dreams, and what can be said of the result."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.quantization.shape_inference import quant_pre_process

from mygo_edge.device.session import Graph
from mygo_edge.export.errors import GraphError
from mygo_edge.model.onnx_graph import OPSET, serialised

_BATCH = 100  # images a calibration step


class Range(NamedTuple):
    """Of a quantised activation: the value that a node takes, and what its levels stand for."""

    activation: str
    scale: float
    zero_point: int
    levels: tuple[int, int]

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and largest value that is not clipped."""
        low, high = (self.scale * (level - self.zero_point) for level in self.levels)
        return low, high


def preprocess(model: ModelProto) -> bytes:
    """onnxruntime's preparation for its quantiser: shapes inferred, constants folded, nodes simplified."""
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "prepared.onnx"
        quant_pre_process(model, done)
        return _tidy(done)


def quantise(model: ModelProto, nodes: Sequence[NodeProto], pixels: NDArray[np.uint8]) -> bytes:
    """Quantise `nodes`: weights to int8 a channel, inputs to uint8 by the range that they have on `pixels`.

    Weights keep to seven bits, so that no processor's 16-bit sums of products saturate. Outputs stay fp32.
    """
    add_pre_process_metadata(model)  # without it the quantiser warns; `mygo_edge.export.recipes` sees to the order
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "quantised.onnx"
        quantize_static(
            model,
            done,
            _Batches(pixels),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[node.name for node in nodes],
            extra_options={"OpTypesToExcludeOutputQuantization": sorted({node.op_type for node in nodes})},
        )
        return _tidy(done)


class _Batches(CalibrationDataReader):
    """Hands pixels to the quantiser."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray] = iter(np.split(pixels, range(_BATCH, len(pixels), _BATCH)))

    def get_next(self) -> dict[str, NDArray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def _tidy(file: Path) -> bytes:
    """The graph in a model of ours: onnxruntime's lists every domain that it knows. Raises GraphError."""
    model = onnx.load(file)
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), None)
    if opset != OPSET:
        raise GraphError(f"onnxruntime's quantiser changed the opset from {OPSET} to {opset}")
    if foreign := sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")}):
        raise GraphError(f"onnxruntime's quantiser used its own operators: {', '.join(foreign)}")
    del model.graph.value_info[:]
    return serialised(model.graph)


def quantised_inputs(model: ModelProto) -> dict[str, Range]:
    """The name of every node whose input is quantised, and the range of it."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    found = {}
    for node in model.graph.node:
        reader = made_by.get(node.input[0]) if node.input else None
        if reader is None or reader.op_type != "DequantizeLinear" or node.op_type == "QuantizeLinear":
            continue
        scale, zero = (numpy_helper.to_array(constants[name]) for name in reader.input[1:3])
        limits = np.iinfo(zero.dtype)
        activation = str(made_by[reader.input[0]].input[0])
        found[str(node.name)] = Range(activation, float(scale), int(zero), (limits.min, limits.max))
    return found


def coverage(model: ModelProto, ranges: Mapping[str, Range], pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Share of each quantised input's values on `pixels` that its range holds without clipping, by node.

    Args:
        model: in fp32, with the activations by the names that the ranges have.
    """
    watched = ModelProto()
    watched.CopyFrom(model)
    for name in sorted({item.activation for item in ranges.values()}):
        watched.graph.output.add(name=name).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    graph = Graph(watched.SerializeToString(), "the classifier, watched")
    inside = dict.fromkeys(ranges, 0.0)
    for batch in np.split(pixels, range(_BATCH, len(pixels), _BATCH)):
        for node, item in ranges.items():
            (values,) = graph.run([item.activation], {"image": batch})
            low, high = item.bounds
            margin = item.scale / 2  # what rounds to the first or last level
            inside[node] += len(batch) * float(np.mean((values >= low - margin) & (values <= high + margin)))
    return {node: share / len(pixels) for node, share in inside.items()}
