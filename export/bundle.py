"""Publish what was learnt as a bundle version: graphs, manifest, self-test, all checked."""

import copy
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import onnx
import onnxruntime
import torch
from torch import nn

import mygo_edge
from mygo_edge.bundle.manifest import InputFormat, Manifest, Task
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export import gate
from mygo_edge.export.device_head import trunk_digest
from mygo_edge.export.draft import OTHER_MACHINES, Draft
from mygo_edge.export.folding import device_width
from mygo_edge.export.graphs import head_name
from mygo_edge.export.recipes import EXACT, FP32, MAX_LOSS, precision_named
from mygo_edge.export.samples import Labelled
from mygo_edge.export.stages import ClassifierSource
from mygo_edge.export.versions import live_bundle, write_version
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.model.network import NeocortexNet

Network = TypeVar("Network", bound=nn.Module)


def publish(
    bundle_dir: Path,
    *,
    net: NeocortexNet,
    generators: Sequence[FrozenGenerator],
    tasks: Sequence[tuple[str, Sequence[str]]],
    mean: Sequence[float],
    std: Sequence[float],
    sequence: int,
    learner_id: str | None = None,
    precision: str = "fp32",
    max_loss: float = MAX_LOSS,
    real: Sequence[Labelled] = (),
    say: Callable[[str], None] = lambda line: None,
    keep_before: bool = True,
    beside_fp32: bool = True,
    measured: bool = False,
) -> Path:
    """Write, check and make live a version of the bundle. One process at a time publishes to a bundle.

    Args:
        bundle_dir: the bundle's folder; created when it is not there.
        net: shared features and a head for every task; on any device, left as it is.
        generators: one a task, in task order. One that the live version holds already keeps its very bytes.
        tasks: (name, class names) in task order. A name is of letters, digits, "_" and "-".
        mean, std: of a channel, on pixels scaled to [0, 1]; `net` takes (pixel / 255 - mean) / std.
        sequence: number of the version. See `mygo_edge.export.versions.write_version` for a number that exists.
        learner_id: 32 hexadecimal digits the same in everything that this learner publishes; None takes those of
            the live version, or new ones where there is none.
        precision: one of `mygo_edge.export.recipes.PRECISIONS`, of classifier and generators.
        max_loss: how much a measure of `mygo_edge.export.gate` may fall against fp32, a fraction.
        real: labelled images by task, to compare the classifier on, next to dreams.
        say: gets a line for every number that is measured.
        keep_before: whether the version before stays on disk.
        beside_fp32: whether the classifier is published in fp32 as well.
        measured: generators that the live version holds passed this very gate, and are not measured again.

    Returns:
        The folder of the live version.

    Raises:
        PrecisionLossError: the precision loses more than `max_loss`. The version that is live stays so.
        MygoEdgeError: an unknown precision, names that do not fit, weights that are not finite, or a graph that
            does not compute what PyTorch does. The version that is live stays so.
        ValueError: networks and tasks do not fit each other.
        OSError: the disk refuses.
    """
    recipes = precision_named(precision)
    names = [name for name, _ in tasks]
    widths = [len(classes) for _, classes in tasks]
    if net.widths != widths or [generator.classes for generator in generators] != widths:
        raise ValueError(f"tasks of {widths} classes need as many heads and generators, one each, of those classes")
    if not len(mean) == len(std) == net.shape[0] or min(std) <= 0:
        raise MygoEdgeError(f"mean {list(mean)} and std {list(std)} must be one number a channel, std above 0")
    # Checked where a device runs them: on the CPU, in fp32.
    net = _on_cpu(net, "the classifier")
    generators = [
        _on_cpu(generator.for_devices(), f"the generator of {name}")
        for generator, name in zip(generators, names, strict=True)
    ]
    draft = Draft(ClassifierSource("classifier.onnx", net, names, mean, std), generators, say)
    draft.add_classifier(published=beside_fp32 or recipes.classifier is FP32)
    if recipes.classifier is not FP32:
        draft.add_variant(recipes.classifier, real)
    live = live_bundle(bundle_dir)
    for task in range(len(tasks)):
        draft.add_generator(task, recipes.generator, live, measured)
    for measure in draft.measures:
        say(str(measure))
    gate.require(draft.measures, max_loss)
    draft.add_selftest()
    manifest = Manifest(
        sequence=sequence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tasks=tuple(
            Task(name, tuple(classes), head_name(name), generator_kind(generator))
            for (name, classes), generator in zip(tasks, generators, strict=True)
        ),
        input=InputFormat((net.shape[0], net.shape[1], net.shape[2]), tuple(mean), tuple(std)),
        tolerance=OTHER_MACHINES * EXACT,
        files=tuple(draft.files),
        producer={
            "mygo_edge": mygo_edge.__version__,
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        id=learner_id or (live and live.manifest.id) or secrets.token_hex(16),
        features=device_width(net),
        features_digest=trunk_digest(net, mean, std),
    )
    return write_version(bundle_dir, manifest, draft.contents, keep_before=keep_before)


def generator_kind(generator: FrozenGenerator) -> str:
    """What the manifest calls it: a perceptron's only map before the image is one pixel."""
    return "perceptron" if generator.base_size == (1, 1) else "convolutional"


def _on_cpu(network: Network, name: str) -> Network:
    """A copy in fp32 and inference mode. Raises MygoEdgeError when a weight is not finite."""
    twin = copy.deepcopy(network).cpu().float().eval()
    if not all(bool(torch.isfinite(value).all()) for value in twin.state_dict().values()):
        raise MygoEdgeError(f"{name} has weights that are not finite; it diverged, so nothing was published")
    return twin
