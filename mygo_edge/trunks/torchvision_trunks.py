"""Trunks of torchvision: its classifiers without their last layers, exported once."""

import io
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from mygo_edge.errors import MygoEdgeError
from mygo_edge.model.onnx_graph import OPSET

# What stands above the pooled features, by model; replaced by nothing.
HEADS = {
    "mobilenet_v3_small": "classifier",
    "mobilenet_v3_large": "classifier",
    "efficientnet_b0": "classifier",
    "resnet18": "fc",
    "resnet50": "fc",
    "regnet_y_400mf": "fc",
    "shufflenet_v2_x1_0": "fc",
}
TERMS = (
    "the weights are torchvision's, learnt from ImageNet; torchvision is under BSD-3-Clause and leaves it to users "
    "whether ImageNet's terms allow their use"
)

Channels = tuple[float, float, float]


class _Trunk(nn.Module):
    """Scaling of raw pixels, then the network."""

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, mean: Channels, std: Channels) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).reshape(3, 1, 1)))

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [batch, 3, height, width] -> [batch, features]."""
        return self.network((image.float() - self.mean) * self.scale).flatten(1)


def graph(name: str, size: int, weights: Path | None, download: bool) -> tuple[bytes, int, tuple[Channels, Channels]]:
    """The graph of a torchvision model below its classifier, its features, and the mean and std that it applies.

    Args:
        name: one of `HEADS`.
        size: height and width of its input.
        weights: a file of its state dict; or None, for those that torchvision offers.
        download: whether these may be fetched, checked by the hash in their name.

    Raises:
        MygoEdgeError: no weights, or not those of this model.
    """
    import torchvision

    offered = torchvision.models.get_model_weights(name).DEFAULT
    preset = offered.transforms()
    state = _file(weights) if weights else _offered(name, offered, download)
    network = torchvision.models.get_model(name, weights=None)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise MygoEdgeError(f"{weights or name} does not hold the weights of {name} ({error})") from error
    setattr(network, HEADS[name], nn.Identity())
    mean, std = tuple(preset.mean), tuple(preset.std)
    return *_export(_Trunk(network, mean, std).eval(), size), (mean, std)


def _export(module: nn.Module, size: int) -> tuple[bytes, int]:
    """The graph, and the width of its output."""
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    if find_spec("onnxscript") is None:
        raise MygoEdgeError("torchvision's trunks are exported with onnxscript: pip install 'mygo_edge[trunks]'")
    program = torch.onnx.export(
        module,
        (example,),
        input_names=["image"],
        output_names=["features"],
        opset_version=OPSET,
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    model: Any = program.model_proto  # type: ignore[union-attr]  # not None with dynamo
    _strip(model)
    return model.SerializeToString(deterministic=True), model.graph.output[0].type.tensor_type.shape.dim[1].dim_value


def _strip(model: onnx.ModelProto) -> None:
    """Drop the paths of source files, and whatever else was recorded beside the graph."""
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]


def _offered(name: str, offered: Any, download: bool) -> dict[str, Tensor]:
    file = Path(torch.hub.get_dir()) / "checkpoints" / offered.url.rsplit("/", 1)[1]
    if not download and not file.is_file():
        raise MygoEdgeError(f"--trunk {name} has no weights here: pass --download, or --trunk.weights FILE")
    try:
        return offered.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise MygoEdgeError(f"the weights of {name} cannot be fetched ({error}): check the network") from error


def _file(path: Path) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises a dozen types on files that are no state dicts
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise MygoEdgeError(f"{path} is no file of weights ({reason}); save a state dict with torch.save") from error
    if not isinstance(state, dict):
        raise MygoEdgeError(f"{path} holds a {type(state).__name__}; save a state dict with torch.save")
    return state
