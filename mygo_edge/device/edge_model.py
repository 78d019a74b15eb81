"""EdgeModel: what a device runs. It needs a bundle, numpy and onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.heads import Head
from mygo_edge.bundle.reading import HEADS, Bundle, read_bundle
from mygo_edge.device.assessing import Assessment, Calibration, assessments, softmax
from mygo_edge.device.engine import Dreams, Engine, Key, Learnt, Scores, class_index
from mygo_edge.device.features import FeatureEngine
from mygo_edge.device.pixels import PixelEngine
from mygo_edge.device.session import SessionOptions
from mygo_edge.errors import MygoEdgeError

__all__ = ["Assessment", "Dreams", "EdgeModel"]


class EdgeModel:
    """A version of a bundle, verified and ready to classify and to dream.

    Images are uint8 or floats in [0, 1], [n, channels, height, width] (see `mygo_edge.bundle.images.as_pixels`).
    Where a task is given, its own head answers; without one, all heads' logits stand side by side.
    """

    def __init__(self, bundle: Bundle, session: SessionOptions | None = None, *, precision: str | None = None) -> None:
        """Take a bundle that was read and verified. Most callers want `EdgeModel.load`."""
        self._engine = _opened(bundle, session or SessionOptions(), precision)
        self._published = {task.name: task.classes for task in bundle.manifest.tasks}
        self._calibration = Calibration(self._engine)
        self._heads_dir: Path | None = None
        self._lock = Lock()  # of the heads' folder, and of the attributes below
        self._learnt: Mapping[str, Learnt] = {}  # replaced, never changed, so that threads see the old or the new one
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
        precision: str | None = None,
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
            precision: of the classifier (default: fp32, which is in every version; others where the publisher made
                them). A generator comes in one precision, the publisher's, and so does a trunk.
            public_key: file of the publisher's Ed25519 key; with it, a version that is not signed by its owner is
                refused. Needs the extra `mygo_edge[sign]`.
            heads: folder of the tasks that this device learnt (default: `heads` in the bundle's folder, or none with
                a public key, because they are not signed: name a folder that only this device can write). One
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
        return self._engine.version

    @property
    def precision(self) -> str:
        """Of the classifier, or of the trunk."""
        return self._engine.precision

    @property
    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Task name -> class names, in the order in which they were learnt; those learnt on this device come last."""
        return MappingProxyType(self._published | {name: task.classes for name, task in self._learnt.items()})

    @property
    def refused_heads(self) -> Mapping[str, str]:
        """Task name -> why what this device learnt is not used: most often, other features since."""
        return MappingProxyType(self._refused)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image, of a bundle whose dreams are images."""
        return self._engine.manifest.pixels.shape

    @property
    def takes_text(self) -> bool:
        """Whether the inputs are texts, not images."""
        return self._engine.takes_text

    def example(self, n: int) -> Any:
        """`n` inputs, always the same, to measure with."""
        return self._engine.example(n)

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
        return self._scores(images, task)[0].logits

    def predict_proba(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """Softmax of `logits`, over the task's head or over all heads."""
        return softmax(self.logits(images, task))

    def predict(self, images: Any, task: str | None = None) -> list[str]:
        """The most likely class of every image, by name."""
        return [label for _, label in self.answers(images, task)]

    def answers(self, images: Any, task: str | None = None) -> list[tuple[str, str]]:
        """(task, class) of the most likely class of every image, of the task or of all tasks."""
        if task is None and not self._learnt:
            return self._engine.answers(images)
        scores, labels = self._scores(images, task)
        return [labels[column] for column in scores.logits.argmax(1)]

    def novelty(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """How little each image looks like any class of the task, or of all tasks: [n], to be compared with each other.

        For images it is the negative of the largest logit; for vectors of a trunk, the squared Mahalanobis distance
        to the nearest class (see docs/device.md for what tells known from unknown classes how well).
        """
        return self._scores(images, task)[0].novelty

    def rejects(self, images: Any, task: str | None = None, false_alarms: float = 0.05) -> NDArray[np.bool_]:
        """Whether each image looks like none of the classes: [n].

        Args:
            images, task: as for `logits`.
            false_alarms: share of the model's own dreams that the threshold would reject, in (0, 1).

        Raises:
            MygoEdgeError: a share out of range, or a task without dreams to calibrate on.
        """
        return self.novelty(images, task) > self.threshold(task, false_alarms)

    def threshold(self, task: str | None = None, false_alarms: float = 0.05) -> float:
        """The novelty that this share of the model's own dreams exceeds; it is taken at the first call and kept."""
        return self._calibration.threshold(self._selected(task, self.tasks), self._learnt, false_alarms)

    def assess(
        self, images: Any, task: str | None = None, *, top: int = 1, false_alarms: float | None = None
    ) -> list[Assessment]:
        """All that can be said of every image, from one look at it.

        Args:
            images, task: as for `logits`.
            top: how many of the most likely classes.
            false_alarms: as for `rejects`; None leaves out whether the image is rejected.
        """
        if top < 1:
            raise MygoEdgeError(f"top must be at least 1, not {top}")
        limit = None if false_alarms is None else self.threshold(task, false_alarms)
        scores, labels = self._scores(images, task)
        return assessments(scores, labels, top, limit)

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
        """Dream `n` images, or vectors of the trunk, of a task.

        Args:
            task: name of the task.
            class_id: index within the task or name of a class; None draws each image's class uniformly.
            n: number of images.
            seed, stream, step: which dreams, as `mygo_edge.kernels.philox` lays them out: equal values start from the
                noise that the machine that learns starts from. seed in [0, 2^64), stream and step in [0, 2^32).

        Raises:
            MygoEdgeError: an unknown task or class, or a number out of range.
        """
        learnt, tasks = self._learnt, self.tasks
        self._selected(task, tasks)
        key = Key(seed, stream, step)
        key.require_in_range()
        if not 1 <= n < 2**32:
            raise MygoEdgeError(f"n must be at least 1 and below 2^32, not {n}")
        chosen = None if class_id is None else class_index(class_id, tasks[task], task)
        return self._engine.dream(task, chosen, n, key, learnt)

    def learn(self, name: str, inputs: Any, labels: Sequence[str], *, store: bool = True) -> Learnt:
        """Learn a task on this device, usable at once: from five inputs a class, or, with a trunk, from one.

        With a trunk it is remembered as the box remembers its tasks, stays across every update, and dreams. Where
        dreams are images it is a head, see `learn_head`. What was learnt under the same name before is replaced.

        Args:
            name: of the task, of letters, digits, "_" and "-".
            inputs: as for `predict`.
            labels: the class of every input, by name; the task's classes are these names in sorted order.
            store: keep it in the folder of heads.

        Raises:
            MygoEdgeError: a name that is taken, or that cannot be one, too few classes, inputs that do not fit, or no
                folder to keep it in.
            OSError: the disk refuses; it is not used then.
        """
        return self._keep(name, inputs, labels, store)

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
        """`learn` where dreams are images: a new head on the features of this version.

        It is fitted in numpy to tell its own classes apart, and to be comparable with the heads that are there, for
        which the device dreams of the tasks that they know (see `mygo_edge.device.fitting`). It stays usable across
        updates that keep the trunk; a sleep changes the trunk, and then it must be learnt again.

        Args:
            name, images, labels, store: as for `learn`; five images a class are enough to start with.
            regularisation: see `mygo_edge.device.fitting.fit_head`.
            dreams: of every task of the bundle.
        """
        if not isinstance(self._engine, PixelEngine):
            raise MygoEdgeError(f"{self.version} has a trunk, on which no head is fitted; use learn() instead")
        return self._keep(name, images, labels, store, regularisation=regularisation, dreams=dreams)

    def _keep(self, name: str, inputs: Any, labels: Sequence[str], store: bool, **how: Any) -> Any:
        if store and self._heads_dir is None:
            raise MygoEdgeError("with a public key heads need a folder of their own: load(..., heads=FOLDER)")
        task = self._engine.learn(name, inputs, labels, self._learnt, **how)
        with self._lock:
            if store and self._heads_dir is not None:
                self._engine.store(self._heads_dir, task)
            self._learnt = {**self._learnt, name: task}
            self._refused = {other: why for other, why in self._refused.items() if other != name}
        return task

    def _take_heads(self, folder: Path) -> None:
        self._heads_dir = folder
        self._learnt, self._refused = self._engine.read_learnt(folder)

    def run_selftest(self) -> dict[str, float]:
        """Check that the files of the version compute what they did when published.

        Returns:
            How far each file is from what was published, by its name, absolute below 1 and relative above.

        Raises:
            BundleError: farther than the manifest allows; the message names the file.
        """
        return self._engine.run_selftest()

    def _selected(self, task: str | None, tasks: Mapping[str, tuple[str, ...]]) -> list[str]:
        if task is None:
            return list(tasks)
        if task in self._refused:
            raise MygoEdgeError(self._refused[task])
        if task not in tasks:
            raise MygoEdgeError(f"unknown task {task!r}; the tasks of {self.version} are {', '.join(tasks)}")
        return [task]

    def _scores(self, inputs: Any, task: str | None) -> tuple[Scores, list[tuple[str, str]]]:
        """Scores of the inputs, and the (task, class) of each column."""
        learnt = self._learnt
        tasks = self._published | {name: each.classes for name, each in learnt.items()}
        names = self._selected(task, tasks)
        labels = [(name, label) for name in names for label in tasks[name]]
        return self._engine.scores(inputs, names, learnt), labels


def _opened(bundle: Bundle, session: SessionOptions, precision: str | None) -> Engine:
    trunk = bundle.manifest.trunk
    if trunk is None:
        return PixelEngine(bundle, session, precision)
    return FeatureEngine(bundle, trunk, session, precision)
