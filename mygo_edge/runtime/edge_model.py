"""EdgeModel: what a device runs. It needs a bundle, numpy and onnxruntime."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mygo_edge.errors import MygoEdgeError
from mygo_edge.runtime.bundle import HEADS, Bundle, read_bundle
from mygo_edge.runtime.heads import Head, head_path, read_heads, write_head
from mygo_edge.runtime.images import as_pixels, to_pixels
from mygo_edge.runtime.learning import learn
from mygo_edge.runtime.manifest import LATENT, BundleError, FileEntry
from mygo_edge.runtime.noise import dream_noise
from mygo_edge.runtime.pictures import read_paths
from mygo_edge.runtime.selftest import deviation, fits, read_selftest
from mygo_edge.runtime.session import Graph, SessionOptions

_BATCH = 256  # images at a time, to bound the memory of a device
_HEAD_STREAM = 2**32 - 1  # of the dreams that a new head is fitted beside; the box uses small numbers


class Dreams(NamedTuple):
    """images: uint8 [n, channels, height, width]; class_ids: int64 [n], counted within the task."""

    images: NDArray[np.uint8]
    class_ids: NDArray[np.int64]


class EdgeModel:
    """A version of a bundle, verified and ready to classify and to dream.

    Images are uint8 or floats in [0, 1], [n, channels, height, width] (see `mygo_edge.runtime.images.as_pixels`).
    Where a task is given, its own head answers; without one, all heads' logits stand side by side.
    """

    def __init__(self, bundle: Bundle, session: SessionOptions | None = None, *, precision: str = "fp32") -> None:
        """Take a bundle that was read and verified. Most callers want `EdgeModel.load`."""
        self._bundle = bundle
        self._manifest = bundle.manifest
        self._session = session or SessionOptions()
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
        self._lock = Lock()  # of what is made when it is first needed
        self._heads_dir: Path | None = None
        self._learnt: Mapping[str, Head] = {}  # replaced, never changed, so that threads see the old or the new one
        self._refused: Mapping[str, str] = {}

    @classmethod
    def load(
        cls,
        bundle_dir: str | Path,
        *,
        threads: int = 1,
        spinning: bool = False,
        arena: bool = True,
        selftest: bool = True,
        version: str | None = None,
        precision: str = "fp32",
        public_key: str | Path | None = None,
        heads: str | Path | None = None,
    ) -> "EdgeModel":
        """Load the live version of a bundle, or the named one.

        Args:
            bundle_dir: the folder that holds `current` and the versions.
            threads: threads of one prediction or dream.
            spinning, arena: as in `mygo_edge.runtime.session.SessionOptions`.
            selftest: reproduce the version's dreams and logits first.
            version: such as "v0002", to go back to the version before.
            precision: of the classifier; fp32 is in every version, others where the publisher made them. A generator
                comes in one precision, the publisher's.
            public_key: file of the publisher's Ed25519 key; with it, a version that is not signed by its owner is
                refused. Needs the extra `mygo_edge[sign]`.
            heads: folder of the heads that this device learnt (default: `heads` in the bundle's folder, or none with
                a public key, because heads are not signed: name a folder that only this device can write). A head
                that does not fit is left out; see `refused_heads`.

        Raises:
            MygoEdgeError: the version has no classifier of that precision; the message names those it has.
            BundleError: the version is not what was published, or does not compute what it did; the message names
                the file. A device then stays on the model that it has.
        """
        session = SessionOptions(threads, spinning, arena)
        key = None if public_key is None else Path(public_key)
        model = cls(read_bundle(Path(bundle_dir), version, key), session, precision=precision)
        if selftest:
            model.run_selftest()
        if heads is not None or public_key is None:
            model._take_heads(Path(bundle_dir) / HEADS if heads is None else Path(heads))
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
        """Task name -> class names, in the order in which they were learnt; those learnt on this device come last."""
        published = {task.name: task.classes for task in self._manifest.tasks}
        return MappingProxyType(published | {name: head.classes for name, head in self._learnt.items()})

    @property
    def refused_heads(self) -> Mapping[str, str]:
        """Task name -> why its head, which this device learnt, is not used: most often, another trunk since."""
        return MappingProxyType(self._refused)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self._manifest.input.shape

    def labels(self, task: str | None = None) -> list[tuple[str, str]]:
        """(task, class) of every column of `logits` and `predict_proba`."""
        tasks = self.tasks
        return [(name, label) for name in self._selected(task, tasks) for label in tasks[name]]

    def logits(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """[n, classes of the task, or of all tasks].

        Args:
            images: as the class says, or the path of a picture, or several (which needs Pillow).
            task: whose head answers; None puts all heads side by side, those learnt on this device last.

        Raises:
            MygoEdgeError: images or a task that it cannot take.
        """
        return self._logits(images, self._selected(task, self.tasks), self._learnt)

    def predict_proba(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """Softmax of `logits`, over the task's head or over all heads."""
        return _softmax(self.logits(images, task))

    def predict(self, images: Any, task: str | None = None) -> list[str]:
        """The most likely class of every image, by name."""
        return [label for _, label in self.answers(images, task)]

    def answers(self, images: Any, task: str | None = None) -> list[tuple[str, str]]:
        """(task, class) of the most likely class of every image, of the task or of all tasks."""
        tasks, learnt = self.tasks, self._learnt
        if task is None and not learnt:
            return self._graph_answers(images)
        names = [name for name in self._selected(task, tasks) if name in self._heads or name in learnt]
        labels = [(name, label) for name in names for label in tasks[name]]
        return [labels[column] for column in self._logits(images, names, learnt).argmax(1)]

    def _graph_answers(self, images: Any) -> list[tuple[str, str]]:
        """As the classifier's own graph chooses among its heads."""
        classes = [(task.name, task.classes) for task in self._manifest.tasks]
        found = [
            (int(task), int(label))
            for outputs in self._classify(images, ["task_id", "class_id"])
            for task, label in zip(*outputs, strict=True)
        ]
        if not all(0 <= task < len(classes) and 0 <= label < len(classes[task][1]) for task, label in found):
            raise BundleError(f"{self._classifier.name} answers with a class that the manifest does not list")
        return [(classes[task][0], classes[task][1][label]) for task, label in found]

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
        self._selected(task, self.tasks)
        if task not in self._heads:
            raise MygoEdgeError(
                f"task {task} was learnt on this device as a head alone; it has no generator to dream with"
            )
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

    def learn_head(
        self,
        name: str,
        images: Any,
        labels: Sequence[str],
        *,
        regularisation: float | None = None,
        dreams: int = 256,
        store: bool = True,
    ) -> Head:
        """Learn a task on this device: a new head on the features of this version, usable at once.

        It is fitted in numpy to tell its own classes apart, and to be comparable with the heads that are there, for
        which the device dreams of the tasks that they know (see `mygo_edge.runtime.fitting`). A head of the same name
        that was learnt before is replaced. It is kept in the folder of heads, and stays usable across updates that
        keep the trunk; a sleep changes the trunk, and then it must be learnt again.

        Args:
            name: of the task, of letters, digits, "_" and "-".
            images: as for `predict`; five a class are enough to start with.
            labels: the class of every image, by name; the head's classes are these names in sorted order.
            regularisation: see `mygo_edge.runtime.fitting.fit_head`.
            dreams: of every task of the bundle.
            store: keep the head in the folder of heads.

        Raises:
            MygoEdgeError: a name that is taken, or that cannot be one, fewer than two classes, images that do not fit,
                or no folder to keep the head in.
            OSError: the disk refuses; the head is not used then.
        """
        if store and self._heads_dir is None:
            raise MygoEdgeError("with a public key heads need a folder of their own: load(..., heads=FOLDER)")
        head = learn(
            name,
            images,
            labels,
            manifest=self._manifest,
            see=lambda seen: self._features(seen, name),
            dream=lambda task, index: self.dream(task, n=dreams, stream=_HEAD_STREAM, step=index),
            regularisation=regularisation,
        )
        with self._lock:
            if store and self._heads_dir is not None:
                write_head(head_path(self._heads_dir, name), head)
            self._learnt = {**self._learnt, name: head}
            self._refused = {task: why for task, why in self._refused.items() if task != name}
        return head

    def _features(self, images: Any, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of images [n, features], and the logits of all heads but `name` [n, classes]."""
        own = [head for task, head in self._learnt.items() if task != name]
        features, logits = [], []
        for *found, last in self._classify(images, [*self._heads.values(), "features"]):
            features.append(last)
            logits.append(np.concatenate([*found, *(head.logits(last) for head in own)], 1))
        if not features:
            raise MygoEdgeError("a head cannot be learnt from no images")
        return np.concatenate(features), np.concatenate(logits)

    def _take_heads(self, folder: Path) -> None:
        self._heads_dir = folder
        width = self._classifier.outputs.get("features", (None, None))[-1]
        self._learnt, self._refused = read_heads(folder, self._manifest, width)

    def run_selftest(self) -> dict[str, float]:
        """Check that every generator and the classifier compute what they did when published.

        Returns:
            How far each graph is from what was published, by its name, absolute below 1 and relative above.

        Raises:
            BundleError: farther than the manifest allows; the message names the graph.
        """
        entry = self._entry("selftest")
        test = read_selftest(self._bundle.contents[entry.path], f"{self.version}/{entry.path}", self._precision)
        if not fits(test, [len(task.classes) for task in self._manifest.tasks], self.input_shape):
            raise BundleError(f"{self.version}/{entry.path} does not fit the manifest; publish or fetch it again")
        classifier = self._entry("classifier", precision=self._precision)
        labels = [(task.name, label) for task in self._manifest.tasks for label in task.classes]
        worst: dict[str, float] = {}
        for index, task in enumerate(self._manifest.tasks):
            # Not kept: a device that only classifies needs no generator in memory.
            graph = self._open_generator(task.name)
            dreams = _generate(graph, test.z, test.class_id[index])
            worst[graph.name] = self._compare(self._entry("generator", task.name, None), dreams, test.dreams[index])
            pixels = to_pixels(test.dreams[index])
            logits = self._logits(pixels, list(self._heads), {})
            found = self._compare(classifier, logits, test.logits[index])
            if self._graph_answers(pixels) != [labels[column] for column in logits.argmax(1)]:
                raise BundleError(
                    f"{self._classifier.name} fails its self-test: its answer is not where its largest logit is; "
                    "stay on the version before"
                )
            worst[self._classifier.name] = max(found, worst.get(self._classifier.name, 0.0))
        return worst

    def _compare(self, entry: FileEntry, got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
        worst, allowed = deviation(got, expected), entry.tolerance or self._manifest.tolerance
        if worst > allowed:
            raise BundleError(
                f"{self.version}/{entry.path} fails its self-test: it differs by {worst:.3g} from what was published, "
                f"{allowed:g} is allowed; stay on the version before"
            )
        return worst

    def _selected(self, task: str | None, tasks: Mapping[str, tuple[str, ...]]) -> list[str]:
        if task is None:
            return list(tasks)
        if task in self._refused:
            raise MygoEdgeError(self._refused[task])
        if task not in tasks:
            raise MygoEdgeError(f"unknown task {task!r}; the tasks of {self.version} are {', '.join(tasks)}")
        return [task]

    def _logits(self, images: Any, names: Sequence[str], learnt: Mapping[str, Head]) -> NDArray[np.float32]:
        """Logits of these heads side by side, those of the bundle before those in `learnt`."""
        own = [learnt[name] for name in names if name not in self._heads]
        outputs = [self._heads[name] for name in names if name in self._heads] + ["features"] * bool(own)
        columns = sum(len(task.classes) for task in self._manifest.tasks if task.name in names)
        parts = [np.empty((0, columns + sum(len(head.classes) for head in own)), np.float32)]  # of no images
        for found in self._classify(images, outputs):
            features = found.pop() if own else np.empty((0, 0), np.float32)
            parts.append(np.concatenate([*found, *(head.logits(features) for head in own)], 1))
        return np.concatenate(parts)

    def _classify(self, images: Any, outputs: Sequence[str]) -> Iterator[list[NDArray]]:
        """The classifier's named outputs, batch by batch."""
        batch = as_pixels(read_paths(images, self.input_shape), self._manifest.input)
        for start in range(0, len(batch), _BATCH):
            yield self._classifier.run(outputs, {"image": batch[start : start + _BATCH]})

    def _generator(self, task: str) -> Graph:
        with self._lock:
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
            self._session,
            dequantise_once=entry.precision == "int8-weights",
        )
        graph.require(inputs, outputs)
        return graph


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):  # infinite logits have no softmax: NaN
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)


def _generate(graph: Graph, z: NDArray[np.float32], class_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return graph.run(["image"], {"z": z, "class_id": class_ids})[0]


def _class_index(wanted: int | str, classes: tuple[str, ...], task: str) -> int:
    if isinstance(wanted, str) and wanted in classes:
        return classes.index(wanted)
    if not isinstance(wanted, str) and 0 <= wanted < len(classes):
        return int(wanted)
    known = ", ".join(f"{index} ({name})" for index, name in enumerate(classes))
    raise MygoEdgeError(f"unknown class {wanted!r}; the classes of task {task} are {known}")
