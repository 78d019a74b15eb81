"""Which domain a learner works in: chosen by its first data, kept for good."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mygo_edge.domains.domain import Domain
from mygo_edge.domains.features import Features, features_for, own_features
from mygo_edge.domains.pixels import Pixels
from mygo_edge.domains.trunk_folder import load_trunk, save_trunk
from mygo_edge.domains.vectors import Vectors
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.options import TRUNK_METHODS, TrainOptions
from mygo_edge.trunks.patches import IMAGES, LEAST_SIDE

TRUNK = "trunk"  # folder within a run's
CHOSEN = (
    "images in colour: remembered as Gaussians of the answers of filters that are made of patches of the first task's "
    "images (--trunk patches); --memory.generator convolutional takes a GAN of pixels"
)
ALTERNATIVE = (
    "grey images: remembered by a GAN of pixels, whose dreams are images; --trunk patches answers better on most sets "
    "and sooner, but dreams vectors"
)
_ROOMY = 16  # pixels a side, from which patches have been found better
_COLOUR = 0.01  # of the range of a pixel, by which its channels must differ on average
NOT_PUBLISHED = (
    "no bundle is published of this run: devices do not take a GAN of a trunk's vectors; leave --memory.generator out "
    "to publish"
)


def domain_for(inputs: Any, options: TrainOptions) -> Domain:
    """The domain for raw `inputs`. Raises MygoEdgeError where there is none, or the first of them does not fit."""
    if options.trunk is not None:
        domain = features_for(options, inputs)
        domain.prepare(inputs[:1], torch.device("cpu"))
        if options.memory.generator != "perceptron":
            return domain
        warn(NOT_PUBLISHED)
        return Vectors(domain)
    if not isinstance(inputs, Tensor):
        raise MygoEdgeError("pictures of any size, and texts, need a frozen network; name one with --trunk")
    if _wants_patches(inputs, options):
        return own_features(options, inputs)
    return _pixels(inputs.shape[1:])


def note_for(domain: Domain, options: TrainOptions) -> str:
    """What a learner that was not told says of the domain that it chose, or nothing."""
    if options.trunk is not None:
        return ""
    if domain.name != "pixels":
        return CHOSEN
    return ALTERNATIVE if _open(options) and min(domain.shape[1:]) >= _ROOMY else ""


def _open(options: TrainOptions) -> bool:
    """Whether nothing was asked for that patches have not."""
    return (
        options.memory.generator == "auto"
        and options.memory.reuse is None
        and options.sleep.form != "sampled"
        and all(method in TRUNK_METHODS for method in options.methods)
    )


def _wants_patches(images: Tensor, options: TrainOptions) -> bool:
    """Whether patches of the images remember them better than a GAN would: where they are in colour, and nothing was
    asked for that patches have not (docs/results.md has both).
    """
    if not _open(options) or images.shape[1] != 3 or min(images.shape[2:]) < LEAST_SIDE:
        return False
    some = images[:: max(1, len(images) // IMAGES)]
    pixels = some.float() * (1 if some.is_floating_point() else 1 / 255)
    return bool((pixels.amax(1) - pixels.amin(1)).mean() > _COLOUR)


def keep_domain(domain: Domain, run: Path) -> None:
    """Write what `domain_of_state` needs besides a checkpoint into the folder of a run."""
    if isinstance(domain, Features | Vectors):
        save_trunk(run / TRUNK, domain.trunk)


def domain_of_state(state: Mapping[str, Any], options: TrainOptions, run: Path) -> Domain:
    """The domain of a checkpoint of the run in a folder.

    Raises:
        KeyError, TypeError or ValueError: it is damaged.
        MygoEdgeError: so is the trunk.
    """
    if state["domain"] in (Features.name, Vectors.name):
        own = options.trunk_input
        features = Features(load_trunk(run / TRUNK), own.threads, own.batch_size)
        return features if state["domain"] == Features.name else Vectors(features)
    if state["domain"] != "pixels":
        raise ValueError(f"unknown domain {state['domain']!r}")
    return _pixels(state["shape"])


def _pixels(shape: Sequence[int]) -> Pixels:
    channels, height, width = map(int, shape)
    return Pixels((channels, height, width))
