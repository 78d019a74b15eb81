"""EdgeModel: what a device runs. It needs a bundle, numpy and onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.heads import Head
from mygo_edge.bundle.reading import HEADS, Bundle, read_bundle
from mygo_edge.device.assessing import Assessment, assessments, softmax
from mygo_edge.device.engine import Dreams, Engine, Key, Learnt, class_index, whole
from mygo_edge.device.loaded import Loaded
from mygo_edge.device.pixels import PixelEngine
from mygo_edge.device.running import Opening, Running
from mygo_edge.device.session import SessionOptions
from mygo_edge.errors import MygoEdgeError

__all__ = ["Assessment", "Dreams", "EdgeModel"]


class EdgeModel:
    """A version of a bundle, verified and ready to classify and to dream.

    Images are uint8 or floats in [0, 1], [n, channels, height, width] (see `mygo_edge.bundle.images.as_pixels`). With a
    trunk they are photos of any size or texts (see `mygo_edge.device.trunk.Trunk.vectors`).
    Where a task is given, its own head answers; without one, all heads' logits stand side by side.
    """

    def __init__(self, bundle: Bundle, session: SessionOptions | None = None, *, precision: str | None = None) -> None:
        """Take a bundle that was read and verified. Most callers want `EdgeModel.load`."""
        self._running = Running(Loaded.open(bundle, session or SessionOptions(), precision))

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
            selftest: reproduce the version's dreams and logits first, the quickest way (see `run_selftest`).
            version: such as "v0002", to go back to the version before.
            precision: of the classifier (default: fp32 where the publisher made it, else what there is). A generator
                comes in one precision, the publisher's, and so does a trunk.
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
        folder, session = Path(bundle_dir), SessionOptions(threads, spinning, arena)
        key = None if public_key is None else Path(public_key)
        model = cls(read_bundle(folder, version, key), session, precision=precision)
        if selftest:
            model._engine.run_selftest(thorough=False)
        kept = Path(heads) if heads is not None else None if public_key is not None else folder / HEADS
        live = Opening(folder, session, precision, key, selftest) if version is None else None
        model._running = Running(model._loaded.with_heads(kept), kept, live)
        return model

    def reload(self) -> bool:
        """Take up the version that is live by now, as an update leaves it, while other threads go on predicting.

        The new version is read, verified, opened and self-tested beside the old one, with the options of `load`, and
        what this device learnt is read for it anew, or carried over where it was not stored; then it takes over between
        two calls. A call that has begun ends on the version that it began with. While both are open, they need the
        memory of both.

        Returns:
            Whether another version has taken over; False where the live one is in use already.

        Raises:
            MygoEdgeError: the model was not made by `load`, or of a version that was named.
            BundleError: the live version is not what was published; the model goes on with the one that it has.
        """
        return self._running.reload()

    @property
    def _loaded(self) -> Loaded:
        return self._running.loaded

    @property
    def _engine(self) -> Engine:
        return self._loaded.engine

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
        return MappingProxyType(self._loaded.tasks)

    @property
    def refused_heads(self) -> Mapping[str, str]:
        """Task name -> why what this device learnt is not used: most often, other features since."""
        return MappingProxyType(self._loaded.refused)

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
        return self._loaded.labels(task)

    def logits(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """[n, classes of the task, or of all tasks].

        Args:
            images: as the class says, or the path of a picture, or several (which needs Pillow).
            task: whose head answers; None puts all heads side by side, those learnt on this device last.

        Raises:
            MygoEdgeError: images or a task that it cannot take.
        """
        return self._loaded.scores(images, task).logits

    def predict_proba(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """Softmax of `logits`, over the task's head or over all heads."""
        return softmax(self.logits(images, task))

    def predict(self, images: Any, task: str | None = None) -> list[str]:
        """The most likely class of every image, by name."""
        return [label for _, label in self.answers(images, task)]

    def answers(self, images: Any, task: str | None = None) -> list[tuple[str, str]]:
        """(task, class) of the most likely class of every image, of the task or of all tasks."""
        loaded = self._loaded
        if task is None and not loaded.learnt:
            return loaded.engine.answers(images)
        labels = loaded.labels(task)
        return [labels[column] for column in loaded.scores(images, task).logits.argmax(1)]

    def novelty(self, images: Any, task: str | None = None) -> NDArray[np.float32]:
        """How little each image looks like any class of the task, or of all tasks: [n], to be compared with each other.

        Where dreams are images it is the negative of the largest logit; with a trunk, that and the squared Mahalanobis
        distance to the nearest class (docs/device.md says what tells known from unknown classes how well).
        """
        return self._loaded.scores(images, task).novelty

    def rejects(self, images: Any, task: str | None = None, false_alarms: float = 0.05) -> NDArray[np.bool_]:
        """Whether each image looks like none of the classes: [n].

        Args:
            images, task: as for `logits`.
            false_alarms: share, in (0, 1), of images of known classes that the box measured for this, that would be
                rejected; of the model's own dreams where it sent no measurement.

        Raises:
            MygoEdgeError: a share out of range, or a task without dreams to calibrate on.
        """
        loaded = self._loaded
        return loaded.scores(images, task).novelty > loaded.threshold(task, false_alarms)

    def threshold(self, task: str | None = None, false_alarms: float = 0.05) -> float:
        """The novelty that this share of what `rejects` counts on exceeds; it is taken at the first call and kept."""
        return self._loaded.threshold(task, false_alarms)

    def assess(
        self, images: Any, task: str | None = None, *, top: int = 1, false_alarms: float | None = None
    ) -> list[Assessment]:
        """All that can be said of every image, from one look at it.

        Args:
            images, task: as for `logits`.
            top: how many of the most likely classes.
            false_alarms: as for `rejects`; None leaves out whether the image is rejected.
        """
        if whole("top", top) < 1:
            raise MygoEdgeError(f"top must be at least 1, not {top}")
        loaded = self._loaded
        limit = None if false_alarms is None else loaded.threshold(task, false_alarms)
        return assessments(loaded.scores(images, task), loaded.labels(task), top, limit)

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
            n: number of images, no more than the memory of this process may hold (MYGO_EDGE_MEMORY_MIB).
            seed, stream, step: which dreams, as `mygo_edge.kernels.philox` lays them out: equal values start from the
                noise that the machine that learns starts from. seed in [0, 2^64), stream and step in [0, 2^32).

        Raises:
            MygoEdgeError: an unknown task or class, or a number out of range.
        """
        loaded = self._loaded
        if task is None:
            raise MygoEdgeError(f"a dream is of one task: name one of {', '.join(loaded.tasks)}")
        loaded.selected(task)
        key = Key(whole("seed", seed), whole("stream", stream), whole("step", step))
        key.require_in_range()
        count = loaded.dreamable(whole("n", n))
        chosen = None if class_id is None else class_index(class_id, loaded.tasks[task], task)
        return loaded.engine.dream(task, chosen, count, key, loaded.learnt)

    def learn(self, name: str, inputs: Any, labels: Sequence[str], *, store: bool = True) -> Learnt:
        """Learn a task on this device, usable at once: from five inputs a class, or, with a trunk, from one.

        With a trunk it is remembered as the box remembers its tasks, stays across every update, and dreams. Where
        dreams are images it is a head, see `learn_head`. What was learnt under the same name before is replaced.

        Args:
            name: of the task, of letters, digits, "_" and "-".
            inputs: as for `predict`.
            labels: the class of every input, by name; the task's classes are these names in sorted order.
            store: keep it in the folder of heads; otherwise it is there until the process ends.

        Raises:
            MygoEdgeError: a name that is taken, or that cannot be one, labels without an order or that are missing, too
                few classes, inputs that do not fit, or no folder, or a full one, to keep it in.
            OSError: the disk refuses; it is not used then.
        """
        return self._running.learn(name, inputs, labels, store)

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
        return self._running.learn(name, images, labels, store, regularisation=regularisation, dreams=dreams)

    def run_selftest(self) -> dict[str, float]:
        """Check that the files of the version compute what they did when published, with each graph as it runs later.

        `load` runs the graphs that it does not keep as they are, before onnxruntime rewrites them to be faster.

        Returns:
            How far each file is from what was published, by its name, absolute below 1 and relative above.

        Raises:
            BundleError: farther than the manifest allows; the message names the file.
        """
        return self._engine.run_selftest(thorough=True)
