"""A trunk of the first task's own images: filters of small patches, found without labels, steps or downloads.

Patches of a few pixels are brought to one brightness and contrast and whitened; what a filter answers beyond a
threshold, to either side, is averaged over parts of the image: the single-layer networks of Coates, Ng & Lee (2011),
"An analysis of single-layer networks in unsupervised feature learning". Coates & Ng (2011), "The importance of encoding
versus training", found that filters need not be learnt in the whitened space. These are random directions, so that all
that is kept of an image is its part in the mean and the covariance of all patches.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mygo_edge.bundle.vision import CHANNELS, Preparation
from mygo_edge.errors import MygoEdgeError
from mygo_edge.model.onnx_graph import Builder
from mygo_edge.trunks.trunk import Trunk

NAME = "patches"
TERMS = "its filters are learnt from the run's own images; nobody else has a right in them"
FILTERS = 200
PARTS = 3  # of an image, along each side, over which answers are averaged
SIDE = 32  # pixels that larger pictures are brought to
LEAST_SIDE = 8  # pixels
IMAGES = 2000  # enough to learn from

_PATCH, _SMALL_PATCH, _SMALL_SIDE = 6, 4, 16  # pixels; small ones of images below so many
_CONTRAST = 10.0  # grey levels, below which a patch is noise
_WHITENED = 0.1  # added to the variances of contrast-normalised patches before they become equal
_THRESHOLD = 0.25  # standard deviations of a filter's answers
_PATCHES = 50  # of each image, that the covariance is estimated from


def learn_patches(images: NDArray[np.uint8], form: Preparation, seed: int) -> Trunk:
    """The trunk that images of a first task make.

    Args:
        images: [n, height, width, 3] as `form` prepares them.
        seed: which patches are looked at, and which directions are filters.

    Raises:
        MygoEdgeError: images too small for it.
    """
    height, width = images.shape[1:3]
    if min(height, width) < LEAST_SIDE:
        raise MygoEdgeError(
            f"--trunk {NAME}: images of {height} x {width} pixels are too small: each side must have at least "
            f"{LEAST_SIDE}; resize them"
        )
    side = _PATCH if min(height, width) >= _SMALL_SIDE else _SMALL_PATCH
    source = np.random.default_rng(seed)
    patches = _contrast_normalised(_some_patches(images, side, source))
    mean, covariance = patches.mean(0), np.cov(patches.T)
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(values.clip(0) + _WHITENED) @ vectors.T
    directions = source.standard_normal((FILTERS, len(mean)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    filters = directions @ whitening  # [filters, values of a patch]
    threshold = _THRESHOLD * ((patches - mean) @ filters.T).std()
    graph = _graph(filters, -filters @ mean, threshold, side, (height, width))
    return Trunk(graph, "image", "features", 2 * FILTERS * PARTS**2, form, floats=False, name=NAME, terms=TERMS)


def _some_patches(images: NDArray[np.uint8], side: int, source: np.random.Generator) -> NDArray[np.float64]:
    """Patches [n, 3 x side x side], as many of each image, at random places."""
    which = np.arange(len(images)).repeat(_PATCHES)
    top, left = (source.integers(0, extent - side + 1, len(which)) for extent in images.shape[1:3])
    offsets = np.arange(side)
    rows, columns = (top[:, None] + offsets)[:, :, None], (left[:, None] + offsets)[:, None]
    patches = images[which[:, None, None], rows, columns]  # [n, side, side, 3]
    return patches.transpose(0, 3, 1, 2).reshape(len(which), -1).astype(np.float64)


def _contrast_normalised(patches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each patch less its mean, divided by its standard deviation."""
    centred = patches - patches.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + _CONTRAST**2)


def _graph(
    filters: NDArray[np.float64], bias: NDArray[np.float64], threshold: float, side: int, size: tuple[int, int]
) -> bytes:
    """From raw pixels `image` uint8 [batch, 3, *size] to `features` float32 [batch, 2 x filters x parts^2].

    Args:
        filters: [filters, values of a patch], of patches that are contrast-normalised.
        bias: [filters].
    """
    build = Builder()
    count = filters.shape[1]

    def convolved(hidden: str, name: str, kernels: NDArray[np.float64]) -> str:
        weight = build.constant(f"{name}.weight", kernels.reshape(-1, CHANNELS, side, side).astype(np.float32))
        return build.node("Conv", [hidden, weight], name, kernel_shape=[side, side])

    def constant(name: str, value: NDArray | float) -> str:
        return build.constant(name, np.asarray(value, np.float32))

    pixels = build.node("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    pixels = build.node("Sub", [pixels, constant("grey", 127.5)], "centred")  # smaller squares, less rounding
    mean = convolved(pixels, "mean", np.full((1, count), 1 / count))
    power = convolved(build.node("Mul", [pixels, pixels], "squared"), "power", np.full((1, count), 1 / count))
    variance = build.node("Sub", [power, build.node("Mul", [mean, mean], "mean_squared")], "difference")
    variance = build.node("Relu", [variance], "variance")
    contrast = build.node("Sqrt", [build.node("Add", [variance, constant("noise", _CONTRAST**2)], "noisy")], "contrast")
    # The mean is taken off the filters in place of the patches.
    answers = convolved(pixels, "answers", filters - filters.mean(1, keepdims=True))
    answers = build.node("Div", [answers, contrast], "normalised")
    shift = constant("bias", bias.reshape(-1, 1, 1))
    answers = build.node("Add", [answers, shift], "whitened")
    limit = constant("threshold", threshold)
    above = build.node("Relu", [build.node("Sub", [answers, limit], "beyond")], "above")
    below = build.node("Neg", [build.node("Add", [answers, limit], "before")], "opposite")
    both = build.node("Concat", [above, build.node("Relu", [below], "below")], "both", axis=1)
    maps = [extent - side + 1 for extent in size]
    strides = [extent // PARTS for extent in maps]
    kernel = [extent - (PARTS - 1) * stride for extent, stride in zip(maps, strides, strict=True)]
    pooled = build.node("AveragePool", [both], "pooled", kernel_shape=kernel, strides=strides)
    build.node("Flatten", [pooled], "features", axis=1)
    features = 2 * len(filters) * PARTS**2
    return build.serialise(
        NAME,
        {"image": (TensorProto.UINT8, (CHANNELS, *size))},
        {"features": (TensorProto.FLOAT, (features,))},
    )
