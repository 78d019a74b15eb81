"""Bring a user's graph of token ids to operators that devices take.

Exporters write out what broadcasting does anyway (`Expand`), count tokens (`Range`) and fill shapes with a number
(`ConstantOfShape`). Devices refuse these: a few bytes of a hostile graph would make gigabytes. Here, on the box, they
are replaced by what does the same for token ids, and onnxruntime computes what is constant. Whether it does the same is
not derived but tried: on batches of several shapes the result must be that of the graph as it came.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from mygo_edge.errors import MygoEdgeError

_FATAL = 4  # log level; what goes wrong is raised
_SHAPES = ((1, 5), (2, 7), (3, 4), (2, 1))  # batch and tokens of what is tried
_CLOSE = 1e-4
_COUNTED = 8192  # tokens that a replaced Range can count, more than a trunk may take at once


def simplified(model: bytes, output: str) -> bytes:
    """The graph in operators that devices take, as far as that is known how; whoever calls vets the result.

    Args:
        model: a serialised graph whose inputs are int64 [batch, tokens].
        output: of it, that must stay what it is.

    Raises:
        MygoEdgeError: onnxruntime cannot run the graph, or what was replaced gives something else.
    """
    try:
        result = onnx.load_from_string(_folded(model))
        _replace(result.graph)
        small = _folded(result.SerializeToString(deterministic=True))
        same = all(_close(_run(model, output, feeds), _run(small, output, feeds)) for feeds in _trials(result.graph))
    except Exception as error:  # onnxruntime's and protobuf's errors have no common base
        reason = " ".join(str(error).split())[:300]
        raise MygoEdgeError(f"it cannot be brought to operators that devices take ({reason})") from error
    if not same:
        raise MygoEdgeError("it needs Expand, Range or ConstantOfShape in a way that devices refuse")
    return small


def _folded(model: bytes) -> bytes:
    """The graph after onnxruntime's basic optimisations: what is constant is computed, what is unused is gone."""
    with tempfile.TemporaryDirectory() as folder:
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        folded: ModelProto = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in folded.graph.node}
    kept = [item for item in folded.opset_import if item.domain in used | {"", "ai.onnx"}]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded.SerializeToString(deterministic=True)


def _replace(graph: GraphProto) -> None:
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "Expand":
            nodes.append(helper.make_node("Identity", node.input[:1], node.output, name=node.name))
        elif node.op_type == "ConstantOfShape":
            nodes.append(helper.make_node("Constant", [], node.output, name=node.name, value=_filling(node)))
        elif node.op_type == "Range":
            nodes += _counted(node, graph)
        else:
            nodes.append(node)
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.value_info[:]


def _filling(node: NodeProto) -> onnx.TensorProto:
    """The one number that a shape would be filled with, which broadcasts to that shape."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return numpy_helper.from_array(numpy_helper.to_array(attribute.t).reshape(1))
    return numpy_helper.from_array(np.zeros(1, np.float32))


def _counted(node: NodeProto, graph: GraphProto) -> list[NodeProto]:
    """The first numbers of a stored row, for a Range of whole numbers from 0 on in steps of 1."""
    prefix = f"{node.output[0]}.counted"
    row = (("row", np.arange(_COUNTED)), ("start", np.zeros(1, np.int64)), ("axis", np.zeros(1, np.int64)))
    for name, value in row:
        graph.initializer.append(numpy_helper.from_array(value.astype(np.int64), f"{prefix}.{name}"))
    end = helper.make_node("Unsqueeze", [node.input[1], f"{prefix}.axis"], [f"{prefix}.end"])
    names = [f"{prefix}.row", f"{prefix}.start", f"{prefix}.end", f"{prefix}.axis"]
    return [end, helper.make_node("Slice", names, node.output, name=node.name)]


def _trials(graph: GraphProto) -> list[dict[str, NDArray[np.int64]]]:
    """Ids and masks of several shapes; longer and shorter texts in a batch."""
    rng, found = np.random.default_rng(0), []
    for batch, tokens in _SHAPES:
        feeds = {}
        for value in graph.input:
            ids = rng.integers(1, 8, (batch, tokens))
            mask = np.arange(tokens) < np.maximum(tokens - np.arange(batch)[:, None], 1)
            plain = "mask" in value.name
            feeds[value.name] = mask.astype(np.int64) if plain else ids * 0 if "type" in value.name else ids
        found.append(feeds)
    return found


def _run(model: bytes, output: str, feeds: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    (found,) = onnxruntime.InferenceSession(model, _options(), providers=["CPUExecutionProvider"]).run([output], feeds)
    return found


def _close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, atol=_CLOSE, rtol=_CLOSE))


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = 1
    return options
