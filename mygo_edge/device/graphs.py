"""The graphs of a version: which there must be, when each is opened, and what it is asked."""

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.heads import Head
from mygo_edge.bundle.images import as_pixels
from mygo_edge.bundle.manifest import BundleError, FileEntry
from mygo_edge.bundle.pictures import read_paths
from mygo_edge.bundle.reading import Bundle
from mygo_edge.device.session import INTEGER_WEIGHTS, Graph, SessionOptions
from mygo_edge.errors import MygoEdgeError

ANSWER = ["task_id", "class_id"]
BATCH = 256  # images at a time, to bound the memory of a device


class VersionGraphs:
    """The classifier of a version, and a generator for each of its tasks, opened when it is first asked to dream.

    bundle: the version, verified; manifest: its manifest; precision: of the classifier; tasks: those of the manifest,
    by name. Safe to use from several threads.
    """

    def __init__(self, bundle: Bundle, session: SessionOptions, precision: str) -> None:
        """Open the classifier.

        Raises:
            MygoEdgeError: the version has no classifier of that precision; the message names those it has.
            BundleError: the manifest lists no classifier, or a task without generator, or the classifier is refused.
        """
        manifest = bundle.manifest
        if manifest.precisions and precision not in manifest.precisions:
            raise MygoEdgeError(
                f"{bundle.version} holds no classifier in {precision!r}, only in {', '.join(manifest.precisions)}; "
                "load one of these, or publish it with mygo_edge.export --precision"
            )
        self.bundle = bundle
        self.manifest = manifest
        self.precision = precision
        self.tasks = {task.name: task for task in manifest.tasks}
        self._session = session
        self.classifier = self.open_classifier()
        for name in self.tasks:
            self.entry("generator", name, precision=None)
        self._generators: dict[str, Graph] = {}
        self._lock = Lock()  # of the generators, which are opened when they are first needed

    def open_classifier(self, optimised: bool = True) -> Graph:
        """The classifier, opened anew and not kept. Raises BundleError when it is refused."""
        return self._open(
            self.entry("classifier", precision=self.precision),
            {"image": (None, *self.manifest.pixels.shape)},
            {task.head: (None, len(task.classes)) for task in self.manifest.tasks}
            | {"task_id": (None,), "class_id": (None,)},
            views=[ANSWER] if optimised else [],  # which needs no features
            optimised=optimised,
        )

    def entry(self, role: str, task: str | None = None, precision: str | None = "fp32") -> FileEntry:
        """As `mygo_edge.bundle.manifest.Manifest.find`. Raises BundleError where that finds none."""
        entry = self.manifest.find(role, task, precision)
        if entry is None:
            raise BundleError(
                f"{self.bundle.version}/manifest.json lists no {role}{f' of task {task}' if task else ''}"
            )
        return entry

    def classify(self, images: Any, outputs: Sequence[str], graph: Graph | None = None) -> Iterator[list[NDArray]]:
        """Named outputs of the classifier, or of `graph`, batch by batch; images as `EdgeModel.logits` takes them."""
        batch = as_pixels(read_paths(images, self.manifest.pixels.shape), self.manifest.pixels)
        for start in range(0, len(batch), BATCH):
            yield (graph or self.classifier).run(outputs, {"image": batch[start : start + BATCH]})

    def logits(
        self, images: Any, tasks: Sequence[str], own: Sequence[Head] = (), graph: Graph | None = None
    ) -> NDArray[np.float32]:
        """Logits of the heads of these tasks, and then of `own` heads, side by side: [n, classes of all of these].

        They are the classifier's, or those of `graph`, which is the classifier opened otherwise.
        """
        outputs = [self.tasks[name].head for name in tasks] + ["features"] * bool(own)
        classes = [self.tasks[name].classes for name in tasks] + [head.classes for head in own]
        parts = [np.empty((0, sum(map(len, classes))), np.float32)]  # of no images
        for found in self.classify(images, outputs, graph):
            features = found.pop() if own else np.empty((0, 0), np.float32)
            parts.append(np.concatenate([*found, *(head.logits(features) for head in own)], 1))
        return np.concatenate(parts)

    def answers(self, images: Any) -> list[tuple[str, str]]:
        """(task, class) of every image, as the classifier's own graph chooses among its heads.

        Raises:
            BundleError: it chose a class that the manifest does not list.
        """
        classes = [(task.name, task.classes) for task in self.manifest.tasks]
        found = [
            (int(task), int(label))
            for outputs in self.classify(images, ANSWER)
            for task, label in zip(*outputs, strict=True)
        ]
        if not all(0 <= task < len(classes) and 0 <= label < len(classes[task][1]) for task, label in found):
            raise BundleError(f"{self.classifier.name} answers with a class that the manifest does not list")
        return [(classes[task][0], classes[task][1][label]) for task, label in found]

    def generator(self, task: str) -> Graph:
        """A task's generator, to be run with `generate`; it stays open. Raises BundleError when it is refused."""
        with self._lock:
            if task not in self._generators:
                self._generators[task] = self.open_generator(task)
            return self._generators[task]

    def open_generator(self, task: str, optimised: bool = True) -> Graph:
        """As `generator`, but opened anew and not kept."""
        return self._open(
            self.entry("generator", task, precision=None),
            {"z": (None, self.manifest.latent), "class_id": (None,)},
            {"image": (None, *self.manifest.pixels.shape)},
            optimised=optimised,
        )

    def _open(
        self,
        entry: FileEntry,
        inputs: Mapping[str, tuple[int | None, ...]],
        outputs: Mapping[str, tuple[int | None, ...]],
        views: Sequence[Sequence[str]] = (),
        optimised: bool = True,
    ) -> Graph:
        graph = Graph(
            self.bundle.contents[entry.path],
            f"{self.bundle.version}/{entry.path}",
            self._session,
            dequantise_once=entry.precision in INTEGER_WEIGHTS,
            views=views,
            optimised=optimised,
        )
        graph.require(inputs, outputs)
        return graph


def generate(generator: Graph, z: NDArray[np.float32], class_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images in [-1, 1], [n, channels, height, width], from noise [n, latent] and class ids [n] of the task."""
    return generator.run(["image"], {"z": z, "class_id": class_ids})[0]
