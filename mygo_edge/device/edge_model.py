"""EdgeModel: what a device runs. It needs a bundle, numpy and onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.heads import Head, head_path, read_heads, write_head
from mygo_edge.bundle.reading import HEADS, Bundle, read_bundle
from mygo_edge.device.dreaming import Dreams, dream
from mygo_edge.device.graphs import VersionGraphs
from mygo_edge.device.learning import learn
from mygo_edge.device.selftest import run_selftest
from mygo_edge.device.session import SessionOptions
from mygo_edge.errors import MygoEdgeError

__all__ = ["Dreams", "EdgeModel"]

_HEAD_STREAM = 2**32 - 1  # of the dreams that a new head is fitted beside; the box uses small numbers


class EdgeModel:
    """A version of a bundle, verified and ready to classify and to dream.

    Images are uint8 or floats in [0, 1], [n, channels, height, width] (see `mygo_edge.bundle.images.as_pixels`).
    Where a task is given, its own head answers; without one, all heads' logits stand side by side.
    """

    def __init__(self, bundle: Bundle, session: SessionOptions | None = None, *, precision: str = "fp32") -> None:
        """Take a bundle that was read and verified. Most callers want `EdgeModel.load`."""
        self._graphs = VersionGraphs(bundle, session or SessionOptions(), precision)
        self._heads_dir: Path | None = None
        self._lock = Lock()  # of the heads' folder, and of both attributes below
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
            spinning, arena: as in `mygo_edge.device.session.SessionOptions`.
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
        return self._graphs.bundle.version

    @property
    def precision(self) -> str:
        """The classifier's."""
        return self._graphs.precision

    @property
    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Task name -> class names, in the order in which they were learnt; those learnt on this device come last."""
        published = {name: task.classes for name, task in self._graphs.tasks.items()}
        return MappingProxyType(published | {name: head.classes for name, head in self._learnt.items()})

    @property
    def refused_heads(self) -> Mapping[str, str]:
        """Task name -> why its head, which this device learnt, is not used: most often, another trunk since."""
        return MappingProxyType(self._refused)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self._graphs.manifest.pixels.shape

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
            return self._graphs.answers(images)
        names = [name for name in self._selected(task, tasks) if name in self._graphs.tasks or name in learnt]
        labels = [(name, label) for name in names for label in tasks[name]]
        return [labels[column] for column in self._logits(images, names, learnt).argmax(1)]

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
        if task not in self._graphs.tasks:
            raise MygoEdgeError(
                f"task {task} was learnt on this device as a head alone; it has no generator to dream with"
            )
        return dream(self._graphs, task, class_id, n, seed=seed, stream=stream, step=step)

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
        which the device dreams of the tasks that they know (see `mygo_edge.device.fitting`). A head of the same name
        that was learnt before is replaced. It is kept in the folder of heads, and stays usable across updates that
        keep the trunk; a sleep changes the trunk, and then it must be learnt again.

        Args:
            name: of the task, of letters, digits, "_" and "-".
            images: as for `predict`; five a class are enough to start with.
            labels: the class of every image, by name; the head's classes are these names in sorted order.
            regularisation: see `mygo_edge.device.fitting.fit_head`.
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
            manifest=self._graphs.manifest,
            extract=lambda shown: self._features(shown, name),
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
        heads = [task.head for task in self._graphs.tasks.values()]
        own = [head for task, head in self._learnt.items() if task != name]
        features, logits = [], []
        for *found, last in self._graphs.classify(images, [*heads, "features"]):
            features.append(last)
            logits.append(np.concatenate([*found, *(head.logits(last) for head in own)], 1))
        if not features:
            raise MygoEdgeError("a head cannot be learnt from no images")
        return np.concatenate(features), np.concatenate(logits)

    def _take_heads(self, folder: Path) -> None:
        self._heads_dir = folder
        width = self._graphs.classifier.outputs.get("features", (None, None))[-1]
        self._learnt, self._refused = read_heads(folder, self._graphs.manifest, width)

    def run_selftest(self) -> dict[str, float]:
        """Check that every generator and the classifier compute what they did when published.

        Returns:
            How far each graph is from what was published, by its name, absolute below 1 and relative above.

        Raises:
            BundleError: farther than the manifest allows; the message names the graph.
        """
        return run_selftest(self._graphs)

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
        published = self._graphs.tasks
        own = [learnt[name] for name in names if name not in published]
        return self._graphs.logits(images, [name for name in names if name in published], own)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):  # infinite logits have no softmax: NaN
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)
