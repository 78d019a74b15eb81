"""Publish what was learnt as a bundle version: graphs, manifest, self-test, all checked."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

import mygo_edge
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export import gate
from mygo_edge.export.checks import scaled
from mygo_edge.export.graphs import head_name
from mygo_edge.export.recipes import EXACT, FP32, Recipe, precision_named
from mygo_edge.export.samples import Labelled, Purpose, dreams, labelled_dreams, noise
from mygo_edge.export.stages import ClassifierSource, GeneratorSource, Made, make
from mygo_edge.export.versions import live_bundle, write_version
from mygo_edge.files import sha256
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.model.network import NeocortexNet
from mygo_edge.runtime.bundle import Bundle
from mygo_edge.runtime.images import to_pixels
from mygo_edge.runtime.manifest import FileEntry, InputFormat, Manifest, Task
from mygo_edge.runtime.selftest import DREAMS_PER_TASK, SelfTest, write_selftest
from mygo_edge.runtime.session import Graph

Network = TypeVar("Network", bound=nn.Module)

# Of the self-test, on any device: so many times what publishing allows between PyTorch and onnxruntime on one machine.
OTHER_MACHINES = 10
MAX_LOSS = 0.005  # half a per cent of answers or dreams


def publish(
    bundle_dir: Path,
    *,
    net: NeocortexNet,
    generators: Sequence[FrozenGenerator],
    tasks: Sequence[tuple[str, Sequence[str]]],
    mean: Sequence[float],
    std: Sequence[float],
    sequence: int,
    precision: str = "fp32",
    max_loss: float = MAX_LOSS,
    real: Sequence[Labelled] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write, check and make live a version of the bundle. One process at a time publishes to a bundle.

    Args:
        bundle_dir: the bundle's folder; created when it is not there.
        net: shared features and a head for every task; on any device, left as it is.
        generators: one a task, in task order. One that the live version holds already keeps its very bytes.
        tasks: (name, class names) in task order. A name is of letters, digits, "_" and "-".
        mean, std: of a channel, on pixels scaled to [0, 1]; `net` takes (pixel / 255 - mean) / std.
        sequence: number of the version. See `mygo_edge.export.versions.write_version` for a number that exists.
        precision: one of `mygo_edge.export.recipes.PRECISIONS`. The classifier is published in fp32 too, generators
            in this alone.
        max_loss: how much a measure of `mygo_edge.export.gate` may fall against fp32, a fraction.
        real: labelled images by task, to compare the classifier on, next to dreams.
        say: gets a line for every number that is measured.

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
        _on_cpu(generator, f"the generator of {name}") for generator, name in zip(generators, names, strict=True)
    ]
    source = ClassifierSource("classifier.onnx", net, names, mean, std)
    contents: dict[str, bytes] = {}
    files: list[FileEntry] = []
    measures: list[gate.Measure] = []

    def add(entry: FileEntry, data: bytes) -> None:
        files.append(entry)
        contents[entry.path] = data

    classifier = make(source, FP32)
    add(_entry(source.name, "classifier", classifier.graph, FP32), classifier.graph)
    twins = {FP32.name: classifier.twin}
    if recipes.classifier is not FP32:
        variant, measured = _small_classifier(source, recipes.classifier, generators, real, say)
        add(_entry(f"classifier.{precision}.onnx", "classifier", variant.graph, recipes.classifier), variant.graph)
        twins[precision] = variant.twin
        measures += measured
    remembered = []
    live = live_bundle(bundle_dir)
    for task, (name, generator) in enumerate(zip(names, generators, strict=True)):
        entry, made = _generator(name, generator, recipes.generator, live)
        add(entry, made.graph)
        remembered.append(made.twin)
        if recipes.generator is not FP32:
            fp32, small = Graph(made.fp32, entry.path), Graph(made.graph, entry.path)
            judge = Graph(classifier.graph, source.name)
            measures += gate.generator_measures(entry.path, fp32, small, judge, task, generator.classes)
    for measure in measures:
        say(str(measure))
    gate.require(measures, max_loss)
    test = _selftest(twins, remembered, mean, std)
    add(_entry("selftest.npz", "selftest", test, FP32), test)
    manifest = Manifest(
        sequence=sequence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tasks=tuple(Task(name, tuple(classes), head_name(name)) for name, classes in tasks),
        input=InputFormat(net.shape, tuple(mean), tuple(std)),
        tolerance=OTHER_MACHINES * EXACT,
        files=tuple(files),
        producer={
            "mygo_edge": mygo_edge.__version__,
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    )
    return write_version(bundle_dir, manifest, contents)


def _entry(
    path: str, role: str, data: bytes, recipe: Recipe, task: str | None = None, weights: str | None = None
) -> FileEntry:
    tolerance = None if recipe.tolerance == EXACT else OTHER_MACHINES * recipe.tolerance
    return FileEntry(path, role, sha256(data), len(data), recipe.name, task, weights, tolerance)


def _small_classifier(
    source: ClassifierSource,
    recipe: Recipe,
    generators: Sequence[FrozenGenerator],
    real: Sequence[Labelled],
    say: Callable[[str], None],
) -> tuple[Made[NeocortexNet], list[gate.Measure]]:
    """The classifier by a recipe, and what it loses against fp32."""
    path = f"classifier.{recipe.name}.onnx"
    samples: dict[str, Sequence[Labelled]] = {
        "dreams": labelled_dreams(generators, Purpose.GATE, gate.DREAMS_PER_CLASS)
    }
    if real:
        samples["real images"] = real
    calibration = None
    if recipe.calibration is not None:
        drawn = labelled_dreams(generators, Purpose.CALIBRATION, recipe.calibration.dreams_per_class)
        calibration = np.concatenate([sample.pixels for sample in drawn])
    made = make(replace(source, name=path), recipe, calibration)
    graphs = Graph(made.fp32, source.name), Graph(made.graph, path)
    heads = [head_name(task) for task in source.tasks]
    measures = []
    for on, labelled in samples.items():
        measures += gate.classifier_measures(path, *graphs, heads, labelled, on)
        if made.ranges:
            for node, share in made.coverage(np.concatenate([sample.pixels for sample in labelled])).items():
                say(f"{path}: input of {node}, range calibrated on dreams holds {share:.4%} of the values on {on}")
    return made, measures


def weights_digest(generator: FrozenGenerator) -> str:
    """SHA-256 of everything that a generator computes from: image shape, names, shapes and values of its tensors."""
    digest = hashlib.sha256(repr(generator.shape).encode())
    for name, value in sorted(generator.state_dict().items()):
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _generator(
    task: str, generator: FrozenGenerator, recipe: Recipe, live: Bundle | None
) -> tuple[FileEntry, Made[FrozenGenerator]]:
    """A task's generator by a recipe, and its file: the very bytes of the live version, where that has it already."""
    path = f"generator-{task}.onnx" if recipe is FP32 else f"generator-{task}.{recipe.name}.onnx"
    source, digest = GeneratorSource(path, generator), weights_digest(generator)
    made = make(source, recipe)
    before = live.manifest.find("generator", task, recipe.name) if live else None
    if live and before and before.weights == digest:
        made = replace(made, graph=live.contents[before.path])
        source.check(made.graph, made.twin, recipe.tolerance)
    return _entry(path, "generator", made.graph, recipe, task, digest), made


def _on_cpu(network: Network, name: str) -> Network:
    """A copy in fp32 and inference mode. Raises MygoEdgeError when a weight is not finite."""
    twin = copy.deepcopy(network).cpu().float().eval()
    if not all(bool(torch.isfinite(value).all()) for value in twin.state_dict().values()):
        raise MygoEdgeError(f"{name} has weights that are not finite; it diverged, so nothing was published")
    return twin


@torch.inference_mode()
def _selftest(
    classifiers: Mapping[str, NeocortexNet],
    generators: Sequence[FrozenGenerator],
    mean: Sequence[float],
    std: Sequence[float],
) -> bytes:
    """Fixed noise, and what PyTorch makes of it with the weights of the files; classifiers by precision."""
    samples = [noise(Purpose.SELFTEST, 0, generator.classes, DREAMS_PER_TASK) for generator in generators]
    images = torch.stack([dreams(*pair) for pair in zip(generators, samples, strict=True)])
    pixels = torch.from_numpy(to_pixels(images.flatten(0, 1).numpy()))
    logits: dict[str, Tensor] = {
        name: net(scaled(pixels, mean, std)).unflatten(0, images.shape[:2]) for name, net in classifiers.items()
    }
    ids = torch.stack([sample.class_id for sample in samples])
    test = SelfTest(samples[0].z.numpy(), ids.numpy(), images.numpy(), logits.pop(FP32.name).numpy())
    return write_selftest(test, {name: answers.numpy() for name, answers in logits.items()})
