"""The trunks that `--trunk` can name, and any ONNX file."""

from dataclasses import replace
from pathlib import Path

from mygo_edge.bundle.vision import Preparation
from mygo_edge.errors import MygoEdgeError
from mygo_edge.trunks.options import LARGE, TrunkOptions
from mygo_edge.trunks.patches import NAME as PATCHES
from mygo_edge.trunks.trunk import Trunk

EFFICIENTNET_LITE0 = "efficientnet-lite0"
TORCHVISION = (
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "resnet50",
    "regnet_y_400mf",
    "shufflenet_v2_x1_0",
)
NAMES = (EFFICIENTNET_LITE0, *TORCHVISION, PATCHES)
SMALL = 160  # of smaller pictures: 224 takes twice as long (what it brings stands in docs/photos.md)
SMALL_PICTURE = 96  # pixels of the shorter side


def size_for(shorter_side: int) -> int:
    """Height and width to bring pictures to whose shorter side has so many pixels."""
    return SMALL if shorter_side < SMALL_PICTURE else LARGE


def load_trunk(name: str, options: TrunkOptions, shorter_side: int = LARGE, download: bool = False) -> Trunk:
    """The trunk that a user named.

    Args:
        name: one of `NAMES` that has weights, or the path of an ONNX file.
        options: how.
        shorter_side: of the pictures it will see, typically, in pixels; sets the default size.
        download: whether weights may be fetched.

    Raises:
        MygoEdgeError: there is no such trunk, or its weights or package are missing or not what they should be.
    """
    size = options.size or size_for(shorter_side)
    form = Preparation((size, size), options.resize or size, options.interpolation, options.mean, options.std)
    if name.endswith(".onnx"):
        from mygo_edge.trunks import onnx_file

        return onnx_file.load(Path(name), options.output, form, "the licence of the file is the user's to know")
    if name == EFFICIENTNET_LITE0:
        from mygo_edge.trunks import efficientnet_lite as lite

        form = replace(form, mean=lite.MEAN, std=lite.STD)
        graph, features, terms = lite.graph(lite.weights(options.weights)), lite.FEATURES, lite.TERMS
    elif name in TORCHVISION:
        from mygo_edge.trunks import torchvision_trunks

        graph, features, trained = torchvision_trunks.graph(name, size, options.weights, download)
        form, terms = replace(form, mean=trained[0], std=trained[1]), torchvision_trunks.TERMS
    else:
        raise MygoEdgeError(f"--trunk {name!r} is none of {', '.join(NAMES)}, nor a file that ends in .onnx")
    return Trunk(graph, "image", "features", features, form, floats=False, name=name, terms=terms)
