"""Which domain a learner works in: chosen by its first data, kept for good."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mygo_edge.data.split import Split
from mygo_edge.domains.domain import Domain
from mygo_edge.domains.features import Features, features_for, own_features
from mygo_edge.domains.pixels import Pixels
from mygo_edge.domains.trunk_folder import load_trunk, save_trunk
from mygo_edge.domains.vectors import Vectors
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.options import TRUNK_METHODS, TrainOptions, preset_defaults
from mygo_edge.trunks import patches
from mygo_edge.trunks.trunk import Trunk

TRUNK = "trunk"  # folder within a run's
CHOSEN = (
    "images are remembered as Gaussians of the answers of filters that are made of patches of the first task's "
    "(--trunk patches); --memory.generator convolutional takes a GAN of pixels, whose dreams are images"
)
INSTEAD = (
    "images are remembered by a GAN of pixels, whose dreams are images: {}; --trunk patches answers better on most "
    "sets, but dreams vectors"
)
_ROOMY = 16  # pixels a side, from which patches have been found better
_MANY = 2000  # images a class, of which the filters' answers take longer than a GAN of --preset fast
NOT_PUBLISHED = (
    "no bundle is published of this run: devices do not take a GAN of a trunk's vectors; leave --memory.generator out "
    "to publish"
)


def domain_for(train: Split, options: TrainOptions) -> Domain:
    """The domain for what the first task learns from, raw. Raises MygoEdgeError where there is none, or the first of
    its inputs does not fit.
    """
    inputs = train.inputs
    if options.trunk is not None:
        domain = features_for(options, inputs)
        domain.prepare(inputs[:1], torch.device("cpu"))
        if options.memory.generator != "perceptron":
            return domain
        warn(NOT_PUBLISHED)
        return Vectors(domain)
    if not isinstance(inputs, Tensor):
        raise MygoEdgeError("pictures of any size, and texts, need a frozen network; name one with --trunk")
    if _wants_patches(train, options):
        return own_features(options, inputs)
    return _pixels(inputs.shape[1:])


def note_for(domain: Domain, options: TrainOptions) -> str:
    """What a learner that was not told says of the domain that it chose, or nothing."""
    if options.trunk is not None or not _plain(options):
        return ""
    if domain.name != "pixels":
        return CHOSEN
    if min(domain.shape[1:]) < _ROOMY:
        return ""
    others = " and ".join(_methods_of_pixels(options))
    return INSTEAD.format(f"those are what {others} can learn from" if others else "that is sooner")


def terms_of(domain: Domain) -> str:
    """What is known of the licence of a trunk's weights, for whoever gives them to devices; or nothing."""
    trunk = domain.trunk if isinstance(domain, Features | Vectors) else None
    return f"--trunk {trunk.name}: {trunk.terms}" if isinstance(trunk, Trunk) and trunk.name != patches.NAME else ""


def _wants_patches(train: Split, options: TrainOptions) -> bool:
    """Whether patches of the images remember them better than a GAN would, and nothing was asked for that they have not
    (docs/results.md has both).
    """
    channels, *sides = train.inputs.shape[1:]
    if not _plain(options) or _methods_of_pixels(options) or min(sides) < _ROOMY or channels not in (1, 3):
        return False
    many = len(train) >= _MANY * len(train.labels.unique())
    return not (options.preset == "fast" and channels == 1 and many)


def _plain(options: TrainOptions) -> bool:
    """Whether nothing was asked for that networks and GANs alone have."""
    memory = replace(options.memory, rank=TrainOptions().memory.rank, power=TrainOptions().memory.power)
    return any(
        (options.wake, memory, options.sleep) == (plain.wake, plain.memory, plain.sleep)
        for plain in (TrainOptions(), preset_defaults(options.preset, options.dataset))
    )


def _methods_of_pixels(options: TrainOptions) -> list[str]:
    """Those of the methods that work with nothing else."""
    return [method for method in options.methods if method not in TRUNK_METHODS]


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
        features = Features(load_trunk(run / TRUNK), own.threads, own.batch_size, options.memory.power)
        return features if state["domain"] == Features.name else Vectors(features)
    if state["domain"] != "pixels":
        raise ValueError(f"unknown domain {state['domain']!r}")
    return _pixels(state["shape"])


def _pixels(shape: Sequence[int]) -> Pixels:
    channels, height, width = map(int, shape)
    return Pixels((channels, height, width))
