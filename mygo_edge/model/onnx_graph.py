"""Build an ONNX graph node by node: of networks that are published, and of trunks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

import mygo_edge
from mygo_edge.errors import MygoEdgeError

OPSET = 18
IR_VERSION = 8  # the oldest that opset 18 needs, for the oldest runtimes
BATCH = "batch"

_Value = tuple[int, tuple[int | str, ...]]  # of an input or output: element type, and shape without the batch


class Builder:
    """Collects nodes and weights; a node is named after its first output."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def node(self, kind: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **attributes))
        return outputs[0]

    def weight(self, name: str, value: Tensor) -> str:
        return self.constant(name, value.detach().cpu().float().contiguous().numpy())

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def layer(self, layer: nn.Module, hidden: str, output: str, name: str) -> str:
        """Append the node of a PyTorch layer. Raises MygoEdgeError when there is none for it."""
        match layer:
            case nn.ReLU():
                return self.node("Relu", [hidden], output)
            case nn.Flatten(start_dim=1, end_dim=-1):
                return self.node("Flatten", [hidden], output, axis=1)
            case nn.Linear():
                return self.node("Gemm", [hidden, *self._parameters(layer, name)], output, transB=1)
            case nn.Conv2d(padding=(int(), int()), padding_mode="zeros"):
                return self.node(
                    "Conv",
                    [hidden, *self._parameters(layer, name)],
                    output,
                    kernel_shape=layer.kernel_size,
                    strides=layer.stride,
                    pads=[*layer.padding, *layer.padding],
                    dilations=layer.dilation,
                    group=layer.groups,
                )
            case nn.MaxPool2d(kernel_size=int(), stride=int(), padding=0, dilation=1, ceil_mode=False):
                kernel, stride = [layer.kernel_size] * 2, [layer.stride] * 2
                return self.node("MaxPool", [hidden], output, kernel_shape=kernel, strides=stride)
            case nn.AvgPool2d(kernel_size=int(), stride=int(), padding=0, ceil_mode=False):
                kernel, stride = [layer.kernel_size] * 2, [layer.stride] * 2
                return self.node("AveragePool", [hidden], output, kernel_shape=kernel, strides=stride)
        raise MygoEdgeError(f"{name} is {layer}, which cannot be exported; add its node to {__name__}")

    def _parameters(self, layer: nn.Linear | nn.Conv2d, name: str) -> list[str]:
        names = [self.weight(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            names.append(self.weight(f"{name}.bias", layer.bias))
        return names

    def serialise(self, name: str, inputs: Mapping[str, _Value], outputs: Mapping[str, _Value]) -> bytes:
        """The model."""
        takes, gives = (
            [helper.make_tensor_value_info(key, kind, [BATCH, *shape]) for key, (kind, shape) in part.items()]
            for part in (inputs, outputs)
        )
        return serialised(helper.make_graph(self.nodes, name, takes, gives, self.weights))


def serialised(graph: GraphProto) -> bytes:
    """A model of ours around a graph: equal graphs give equal bytes."""
    model = helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="mygo_edge",
        producer_version=mygo_edge.__version__,
    )
    return model.SerializeToString(deterministic=True)
