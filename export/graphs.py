"""ONNX graphs of the classifier and of a generator.

The graphs are written node by node. `torch.onnx.export` gives the same nodes, but takes two seconds a graph, more than
a run can spend after every task, and puts the paths of the source code into the file. Equal weights give equal bytes.
What the nodes compute is checked against PyTorch whenever a bundle is published (`mygo_edge.export.checks`).
"""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from torch import nn

from mygo_edge.export.folding import DeviceNet
from mygo_edge.model.gan import LATENT, FrozenGenerator
from mygo_edge.model.network import NeocortexNet
from mygo_edge.model.onnx_graph import Builder


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
        MygoEdgeError: `net` has a layer that has no node here.
        ValueError: not one name a head.
    """
    heads = {head_name(name): width for name, width in zip(task_names, net.widths, strict=True)}
    net = net if isinstance(net, DeviceNet) else DeviceNet(net, mean, std)
    builder = Builder()
    pixels = builder.node("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    maps = builder.node("Sub", [pixels, builder.weight("centre", net.centre)], "centred")
    for index, layer in enumerate(net.features):
        maps = builder.layer(layer, maps, f"features.{index}", f"features.{index}")
    # One multiplication for all heads: a node costs more than the arithmetic of so few classes.
    logits = builder.layer(net.logits, builder.layer(nn.Flatten(), maps, "flat", "flat"), "logits", "logits")
    for index, layer in enumerate(net.averages):
        last = index + 1 == len(net.averages)
        maps = builder.layer(layer, maps, "features" if last else "averages", f"averages.{index}")
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
