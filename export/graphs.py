"""ONNX graphs of the classifier and of a generator.

The graphs are written node by node. `torch.onnx.export` gives the same nodes, but takes two seconds a graph, more than
a run can spend after every task, and puts the paths of the source code into the file. Equal weights give equal bytes.
What the nodes compute is checked against PyTorch whenever a bundle is published (`mygo_edge.export.checks`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

import mygo_edge
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.folding import DeviceNet
from mygo_edge.model.gan import LATENT, FrozenGenerator
from mygo_edge.model.network import NeocortexNet

OPSET = 18
IR_VERSION = 8  # the oldest that opset 18 needs, for the oldest runtimes
BATCH = "batch"


def head_name(task: str) -> str:
    """The classifier's output of a task."""
    return f"logits_{task}"


def classifier_outputs(task_names: Sequence[str]) -> list[str]:
    """The classifier's outputs in order: a head a task, the features, and the answer when the task is unknown."""
    return [*map(head_name, task_names), "features", "task_id", "class_id"]


def classifier_graph(
    net: NeocortexNet | DeviceNet,
    task_names: Sequence[str],
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
) -> bytes:
    """Serialise scaling, features, all heads, and the answer among all classes.

    Input `image` [batch, channels, height, width] uint8: raw pixels, which become (pixel / 255 - mean) / std, by
    channel. Outputs, in this order: `logits_<task>` [batch, classes] float32 for every task, `features` [batch, width]
    float32, and `task_id` and `class_id` [batch] int64: where the largest of all heads' logits is, as the index of the
    task and the index of the class within it; the first of equal ones.

    Args:
        net: a `DeviceNet` has its own mean and std.

    Raises:
        MygoEdgeError: `net.features` has a layer that has no node here.
        ValueError: not one name a head.
    """
    heads = {head_name(name): width for name, width in zip(task_names, net.widths, strict=True)}
    net = net if isinstance(net, DeviceNet) else DeviceNet(net, mean, std)
    builder = Builder()
    pixels = builder.node("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    maps = hidden = builder.node("Sub", [pixels, builder.weight("centre", net.centre)], "centred")
    layers = list(net.features)
    for index, layer in enumerate(layers):
        output = "features" if index + 1 == len(layers) else f"features.{index}"
        maps, hidden = hidden, builder.layer(layer, hidden, output, f"features.{index}")
    # One multiplication for all heads: a node costs more than the arithmetic of so few classes.
    logits = builder.layer(net.logits, maps if net.folds else hidden, "logits", "logits")
    builder.node("Split", [logits, builder.constant("widths", np.array(net.widths))], *heads, axis=1)
    column = builder.node("ArgMax", [logits], "column", axis=1, keepdims=0)
    for output, values in (
        ("task_id", [task for task, width in enumerate(net.widths) for _ in range(width)]),
        ("class_id", [index for width in net.widths for index in range(width)]),
    ):
        builder.node("Gather", [builder.constant(f"{output}_of_column", np.array(values)), column], output)
    return builder.serialise(
        "classifier",
        {"image": (TensorProto.UINT8, net.shape)},
        {
            **{head: (TensorProto.FLOAT, (width,)) for head, width in heads.items()},
            "features": (TensorProto.FLOAT, (net.width,)),
            "task_id": (TensorProto.INT64, ()),
            "class_id": (TensorProto.INT64, ()),
        },
    )


def generator_graph(generator: FrozenGenerator) -> bytes:
    """Serialise a frozen generator.

    Inputs `z` [batch, 64] float32 and `class_id` [batch] int64, counted within the task. Output `image`
    [batch, channels, height, width] float32 in [-1, 1].
    """
    builder = Builder()
    channels = generator.convolutions[0][0].shape[0]
    builder.node("MatMul", ["z", builder.weight("base_weight", generator.base_weight)], "noise")
    builder.node("Gather", [builder.weight("class_bias", generator.class_bias), "class_id"], "bias")
    builder.node("Add", ["noise", "bias"], "base")
    size = builder.constant("base_size", np.array([0, channels, *generator.base_size]))  # 0 keeps the batch
    hidden = builder.node("Reshape", ["base", size], "map_0")
    stride, padding = generator.stride_and_padding
    for index, (weight, bias) in enumerate(generator.convolutions):
        inputs = [
            builder.node("Relu", [hidden], f"relu_{index}"),
            builder.weight(f"weight_{index}", weight),
            builder.weight(f"bias_{index}", bias),
        ]
        hidden = builder.node("ConvTranspose", inputs, f"map_{index + 1}", strides=[stride] * 2, pads=[padding] * 4)
    builder.node("Tanh", [hidden], "image")
    inputs_ = {"z": (TensorProto.FLOAT, (LATENT,)), "class_id": (TensorProto.INT64, ())}
    return builder.serialise("generator", inputs_, {"image": (TensorProto.FLOAT, generator.shape)})


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
