"""EdgeModel: what a device runs. It needs a bundle, numpy and onnxruntime."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mygo_edge.errors import MygoEdgeError
from mygo_edge.runtime.bundle import Bundle, read_bundle
from mygo_edge.runtime.images import as_pixels, to_pixels
from mygo_edge.runtime.manifest import LATENT, BundleError, FileEntry
from mygo_edge.runtime.noise import dream_noise
from mygo_edge.runtime.selftest import deviation, fits, read_selftest
from mygo_edge.runtime.session import Graph

_BATCH = 256  # images at a time, to bound the memory of a device


class Dreams(NamedTuple):
    """images: uint8 [n, channels, height, width]; class_ids: int64 [n], counted within the task."""

    images: NDArray[np.uint8]
    class_ids: NDArray[np.int64]


class EdgeModel:
    """A version of a bundle, verified and ready to classify and to dream.

    Images are uint8 or floats in [0, 1], [n, channels, height, width] (see `mygo_edge.runtime.images.as_pixels`).
    Where a task is given, its own head answers; without one, all heads' logits stand side by side.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, precision: str = "fp32") -> None:
        """Take a bundle that was read and verified. Most callers want `EdgeModel.load`."""
        if threads < 1:
            raise MygoEdgeError(f"threads must be at least 1, not {threads}")
        self._bundle = bundle
        self._manifest = bundle.manifest
        self._threads = threads
        self._heads = {task.name: task.head for task in self._manifest.tasks}
        if self._manifest.precisions and precision not in self._manifest.precisions:
            raise MygoEdgeError(
                f"{self.version} holds no classifier in {precision!r}, only in {', '.join(self._manifest.precisions)}; "
                "load one of these, or publish it with mygo_edge.export --precision"
            )
        self._precision = precision
        self._classifier = self._open(
            self._entry("classifier", precision=precision),
            {"image": (None, *self._manifest.input.shape)},
            {task.head: (None, len(task.classes)) for task in self._manifest.tasks}
            | {"task_id": (None,), "class_id": (None,)},
        )
        for task in self._heads:
            self._entry("generator", task, precision=None)
        self._generators: dict[str, Graph] = {}

    @classmethod
    def load(
        cls,
        bundle_dir: str | Path,
        *,
        threads: int = 1,
        selftest: bool = True,
        version: str | None = None,
        precision: str = "fp32",
    ) -> "EdgeModel":
        """Load the live version of a bundle, or the named one.

        Args:
            bundle_dir: the folder that holds `current` and the versions.
            threads: threads of one prediction or dream.
            selftest: reproduce the version's dreams and logits first.
            version: such as "v0002", to go back to the version before.
            precision: of the classifier; fp32 is in every version, others where the publisher made them. A generator
                comes in one precision, the publisher's.

        Raises:
            MygoEdgeError: the version has no classifier of that precision; the message names those it has.
            BundleError: the version is not what was published, or does not compute what it did; the message names
                the file. A device then stays on the model that it has.
        """
        model = cls(read_bundle(Path(bundle_dir), version), threads=threads, precision=precision)
        if selftest:
            model.run_selftest()
        return model

    @property
    def version(self) -> str:
        """The version's name, such as "v0003"."""
        return self._bundle.version

    @property
    def precision(self) -> str:
        """The classifier's."""
        return self._precision

    @property
    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Task name -> class names, in the order in which they were learnt."""
        return MappingProxyType({task.name: task.classes for task in self._manifest.tasks})

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self._manifest.input.shape

    def labels(self, task: str | None = None) -> list[tuple[str, str]]:
        """(task, class) of every column of `logits` and `predict_proba`."""
        return [(name, label) for name in self._selected(task) for label in self.tasks[name]]

    def logits(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """[n, classes of the task, or of all tasks]. Raises MygoEdgeError for images or a task that it cannot take."""
        heads = [self._heads[name] for name in self._selected(task)]
        parts = [np.empty((0, len(self.labels(task))), np.float32)]  # the answer to no images
        parts += [np.concatenate(outputs, 1) for outputs in self._classify(images, heads)]
        return np.concatenate(parts)

    def predict_proba(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """Softmax of `logits`, over the task's head or over all heads."""
        logits = self.logits(images, task)
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)

    def predict(self, images: Any, task: str | None = None) -> list[str]:
        """The most likely class of every image, by name."""
        if task is not None:
            return [self.tasks[task][column] for column in self.logits(images, task).argmax(1)]
        return [label for _, label in self.answers(images)]

    def answers(self, images: Any) -> list[tuple[str, str]]:
        """(task, class) of the largest of all heads' logits, for every image: the answer when the task is unknown."""
        classes = list(self.tasks.items())
        try:
            return [
                (classes[int(task)][0], classes[int(task)][1][int(label)])
                for outputs in self._classify(images, ["task_id", "class_id"])
                for task, label in zip(*outputs, strict=True)
            ]
        except IndexError as error:
            raise BundleError(
                f"{self._classifier.name} answers with a class that the manifest does not list"
            ) from error

    def _classify(self, images: Any, outputs: Sequence[str]) -> Iterator[list[NDArray]]:
        """The classifier's named outputs, batch by batch."""
        batch = as_pixels(images, self._manifest.input)
        for start in range(0, len(batch), _BATCH):
            yield self._classifier.run(outputs, {"image": batch[start : start + _BATCH]})

    def dream(
        self,
        task: str,
        class_id: int | str | None = None,
        n: int = 1,
        seed: int = 0,
        *,
        stream: int = 0,
        step: int = 0,
    ) -> Dreams:
        """Dream `n` images of a task.

        Args:
            task: name of the task.
            class_id: index within the task or name of a class; None draws each image's class uniformly.
            n: number of images.
            seed, stream, step: which dreams, as `mygo_edge.kernels.philox` lays them out: equal values start from the
                noise that the machine that learns starts from. seed in [0, 2^64), stream and step in [0, 2^32).

        Raises:
            MygoEdgeError: an unknown task or class, or a number out of range.
        """
        self._selected(task)
        for name, value, limit in (("seed", seed, 2**64), ("stream", stream, 2**32), ("step", step, 2**32)):
            if not 0 <= value < limit:
                raise MygoEdgeError(f"{name} must be in [0, 2^{limit.bit_length() - 1}), not {value}")
        if not 1 <= n < 2**32:
            raise MygoEdgeError(f"n must be at least 1 and below 2^32, not {n}")
        classes = self.tasks[task]
        chosen = None if class_id is None else _class_index(class_id, classes, task)
        images = np.empty((n, *self.input_shape), np.uint8)
        class_ids = np.empty(n, np.int64)
        for start in range(0, n, _BATCH):
            part = slice(start, min(start + _BATCH, n))
            samples = np.arange(part.start, part.stop)
            z, drawn = dream_noise(samples, len(classes), LATENT, seed=seed, stream=stream, step=step)
            class_ids[part] = drawn if chosen is None else chosen
            images[part] = to_pixels(_generate(self._generator(task), z, class_ids[part]))
        return Dreams(images, class_ids)

    def run_selftest(self) -> None:
        """Raise BundleError unless every generator and the classifier compute what they did when published."""
        entry = self._entry("selftest")
        test = read_selftest(self._bundle.contents[entry.path], f"{self.version}/{entry.path}", self._precision)
        if not fits(test, [len(classes) for classes in self.tasks.values()], self.input_shape):
            raise BundleError(f"{self.version}/{entry.path} does not fit the manifest; publish or fetch it again")
        classifier = self._entry("classifier", precision=self._precision)
        for index, task in enumerate(self._manifest.tasks):
            # Not kept: a device that only classifies needs no generator in memory.
            generated = _generate(self._open_generator(task.name), test.z, test.class_id[index])
            self._compare(self._entry("generator", task.name, None), generated, test.dreams[index])
            pixels = to_pixels(test.dreams[index])
            logits = self.logits(pixels)
            self._compare(classifier, logits, test.logits[index])
            labels = self.labels()
            if self.answers(pixels) != [labels[column] for column in logits.argmax(1)]:
                raise BundleError(
                    f"{self.version}/{classifier.path} fails its self-test: its answer is not where its largest logit "
                    "is; stay on the version before"
                )

    def _compare(self, entry: FileEntry, got: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
        worst, allowed = deviation(got, expected), entry.tolerance or self._manifest.tolerance
        if worst > allowed:
            raise BundleError(
                f"{self.version}/{entry.path} fails its self-test: it differs by {worst:.3g} from what was published, "
                f"{allowed:g} is allowed; stay on the version before"
            )

    def _selected(self, task: str | None) -> list[str]:
        if task is None:
            return list(self._heads)
        if task not in self._heads:
            raise MygoEdgeError(f"unknown task {task!r}; the tasks of {self.version} are {', '.join(self._heads)}")
        return [task]

    def _generator(self, task: str) -> Graph:
        if task not in self._generators:
            self._generators[task] = self._open_generator(task)
        return self._generators[task]

    def _open_generator(self, task: str) -> Graph:
        return self._open(
            self._entry("generator", task, precision=None),
            {"z": (None, LATENT), "class_id": (None,)},
            {"image": (None, *self.input_shape)},
        )

    def _entry(self, role: str, task: str | None = None, precision: str | None = "fp32") -> FileEntry:
        entry = self._manifest.find(role, task, precision)
        if entry is None:
            raise BundleError(f"{self.version}/manifest.json lists no {role}{f' of task {task}' if task else ''}")
        return entry

    def _open(
        self,
        entry: FileEntry,
        inputs: Mapping[str, tuple[int | None, ...]],
        outputs: Mapping[str, tuple[int | None, ...]],
    ) -> Graph:
        graph = Graph(
            self._bundle.contents[entry.path],
            f"{self.version}/{entry.path}",
            self._threads,
            dequantise_once=entry.precision == "int8-weights",
        )
        graph.require(inputs, outputs)
        return graph


def _generate(graph: Graph, z: NDArray[np.float32], class_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return graph.run(["image"], {"z": z, "class_id": class_ids})[0]


def _class_index(wanted: int | str, classes: tuple[str, ...], task: str) -> int:
    if isinstance(wanted, str) and wanted in classes:
        return classes.index(wanted)
    if not isinstance(wanted, str) and 0 <= wanted < len(classes):
        return int(wanted)
    known = ", ".join(f"{index} ({name})" for index, name in enumerate(classes))
    raise MygoEdgeError(f"unknown class {wanted!r}; the classes of task {task} are {known}")
