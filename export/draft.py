"""The files of a version as they are made, before anything is on disk, and what they lose against fp32."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mygo_edge.bundle.images import to_pixels
from mygo_edge.bundle.manifest import FileEntry
from mygo_edge.bundle.reading import Bundle
from mygo_edge.bundle.selftest import DREAMS_PER_TASK, SelfTest, write_selftest
from mygo_edge.device.session import INTEGER_WEIGHTS, Graph
from mygo_edge.export import gate
from mygo_edge.export.folding import DeviceNet
from mygo_edge.export.graphs import head_name
from mygo_edge.export.recipes import EXACT, FP32, Recipe
from mygo_edge.export.samples import Labelled, Purpose, dreams, labelled_dreams, noise
from mygo_edge.export.stages import ClassifierSource, GeneratorSource, make
from mygo_edge.files import sha256
from mygo_edge.model.gan import FrozenGenerator

# Of the self-test, on any device: so many times what publishing allows between PyTorch and onnxruntime on one machine.
OTHER_MACHINES = 10
ROUNDED = 2  # likewise, where activations are rounded to levels: a level is as large everywhere


@dataclass
class Draft:
    """A version that grows: classifiers first, then generators, then the self-test.

    contents: the bytes of `files`, by path. fp32: the graph of the classifier in fp32, what recipes are held against,
    whether or not it is published. measures: of everything that is not in fp32. say: gets a line for what is found
    besides.
    """

    source: ClassifierSource
    generators: Sequence[FrozenGenerator]
    say: Callable[[str], None]
    files: list[FileEntry] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    fp32: bytes = b""
    measures: list[gate.Measure] = field(default_factory=list)
    # What PyTorch computes with the weights of the files: classifiers by precision, generators by task.
    classifier_twins: dict[str, DeviceNet] = field(default_factory=dict)
    generator_twins: list[FrozenGenerator] = field(default_factory=list)

    def add_classifier(self, published: bool = True) -> None:
        """The classifier in fp32. Raises GraphError."""
        made = make(self.source, FP32)
        self.fp32 = made.graph
        if published:
            self._add(self.source.name, "classifier", made.graph, FP32)
            self.classifier_twins[FP32.name] = made.twin

    def add_variant(self, recipe: Recipe, real: Sequence[Labelled]) -> None:
        """The classifier by a recipe, measured on dreams and on the `real` images, if any. Raises GraphError."""
        path = f"classifier.{recipe.name}.onnx"
        samples: dict[str, Sequence[Labelled]] = {
            "dreams": labelled_dreams(self.generators, Purpose.GATE, gate.DREAMS_PER_CLASS)
        }
        if real:
            samples["real images"] = real
        calibration = None
        if recipe.calibration is not None:
            drawn = labelled_dreams(self.generators, Purpose.CALIBRATION, recipe.calibration.dreams_per_class)
            calibration = np.concatenate([sample.pixels for sample in drawn])
        made = make(replace(self.source, name=path), recipe, calibration)
        fp32, graph = Graph(self.fp32, self.source.name), _opened(made.graph, path, recipe)
        heads = [head_name(task) for task in self.source.tasks]
        for on, labelled in samples.items():
            self.measures += gate.classifier_measures(path, fp32, graph, heads, labelled, on)
            if made.ranges:
                for name, share in made.coverage(np.concatenate([sample.pixels for sample in labelled])).items():
                    self.say(f"{path}: {name}, range calibrated on dreams holds {share:.4%} of the values on {on}")
        self._add(path, "classifier", made.graph, recipe)
        self.classifier_twins[recipe.name] = made.twin

    def add_generator(self, task: int, recipe: Recipe, live: Bundle | None, measured: bool = False) -> None:
        """A task's generator by a recipe; the very bytes of the live version, where that has it. Raises GraphError.

        measured: what the live version has was measured when it was published, and is not measured again.
        """
        name, generator = self.source.tasks[task], self.generators[task]
        path = f"generator-{name}.onnx" if recipe is FP32 else f"generator-{name}.{recipe.name}.onnx"
        source, digest = GeneratorSource(path, generator), weights_digest(generator)
        made = make(source, recipe)
        before = live.manifest.find("generator", name, recipe.name) if live else None
        if kept := (live is not None and before is not None and before.weights == digest):
            made = replace(made, graph=live.contents[before.path])
            source.check(made.graph, made.twin, recipe)
        if recipe is not FP32 and not (kept and measured):
            fp32, graph = Graph(made.fp32, path), _opened(made.graph, path, recipe)
            judge = Graph(self.fp32, self.source.name)
            self.measures += gate.generator_measures(path, fp32, graph, judge, task, generator.classes)
        self._add(path, "generator", made.graph, recipe, name, digest)
        self.generator_twins.append(made.twin)

    def add_selftest(self) -> None:
        """Fixed noise, and what PyTorch makes of it with the weights of the files."""
        self._add("selftest.npz", "selftest", self._selftest(), FP32)

    @torch.inference_mode()
    def _selftest(self) -> bytes:
        samples = [noise(Purpose.SELFTEST, 0, generator.classes, DREAMS_PER_TASK) for generator in self.generators]
        images = torch.stack([dreams(*pair) for pair in zip(self.generator_twins, samples, strict=True)])
        pixels = torch.from_numpy(to_pixels(images.flatten(0, 1).numpy()))
        logits = {
            name: net(pixels).unflatten(0, images.shape[:2]).numpy() for name, net in self.classifier_twins.items()
        }
        ids = torch.stack([sample.class_id for sample in samples])
        first, *others = logits
        test = SelfTest(samples[0].z.numpy(), ids.numpy(), images.numpy(), logits[first])
        return write_selftest(test, first, {name: logits[name] for name in others})

    def _add(
        self, path: str, role: str, data: bytes, recipe: Recipe, task: str | None = None, weights: str | None = None
    ) -> None:
        tolerance = None if recipe.tolerance == EXACT else ROUNDED * recipe.tolerance
        self.contents[path] = data
        self.files.append(FileEntry(path, role, sha256(data), len(data), recipe.name, task, weights, tolerance))


def _opened(graph: bytes, path: str, recipe: Recipe) -> Graph:
    """As `EdgeModel` opens it."""
    return Graph(graph, path, dequantise_once=recipe.name in INTEGER_WEIGHTS)


def weights_digest(generator: FrozenGenerator) -> str:
    """SHA-256 of everything that a generator computes from: image shape, names, shapes and values of its tensors."""
    digest = hashlib.sha256(repr(generator.shape).encode())
    for name, value in sorted(generator.state_dict().items()):
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
