"""The engine of a bundle whose dreams are images: a classifier with all heads, and a generator a task."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.heads import Head, head_path, read_heads, require_fit, require_width, trunk_of, write_head
from mygo_edge.bundle.manifest import Manifest
from mygo_edge.bundle.reading import Bundle
from mygo_edge.device.dreaming import dream
from mygo_edge.device.engine import CALIBRATION_DREAMS, CALIBRATION_STREAM, Dreams, Key, Scores
from mygo_edge.device.graphs import VersionGraphs
from mygo_edge.device.learning import learn
from mygo_edge.device.selftest import run_selftest
from mygo_edge.device.session import SessionOptions
from mygo_edge.errors import MygoEdgeError

_HEAD_STREAM = 2**32 - 1  # of the dreams that a new head is fitted beside; the box uses small numbers


class PixelEngine:
    """See `mygo_edge.device.engine.Engine`; what a device learns is a `Head` on the classifier's features."""

    def __init__(self, bundle: Bundle, session: SessionOptions, precision: str | None) -> None:
        """Open the classifier of a precision (default: fp32 if it is there). Raises as `VersionGraphs`."""
        default = next(iter(bundle.manifest.precisions), "fp32")
        self.graphs = VersionGraphs(bundle, session, precision or default)

    @property
    def version(self) -> str:
        return self.graphs.bundle.version

    @property
    def manifest(self) -> Manifest:
        return self.graphs.manifest

    @property
    def precision(self) -> str:
        return self.graphs.precision

    @property
    def takes_text(self) -> bool:
        return False

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.manifest.pixels.shape

    @property
    def dream_bytes(self) -> int:
        return math.prod(self.input_shape) + 8

    def example(self, n: int) -> NDArray[np.uint8]:
        return np.random.default_rng(0).integers(0, 256, (n, *self.input_shape), dtype=np.uint8)

    def scores(self, inputs: Any, names: Sequence[str], learnt: Mapping[str, Head]) -> Scores:
        """The novelty is the negative of the largest logit: heads are taught a low one on what is not theirs."""
        published = self.graphs.tasks
        own = [learnt[name] for name in names if name not in published]
        logits = self.graphs.logits(inputs, [name for name in names if name in published], own)
        return Scores(logits, -logits.max(1, initial=-np.inf))

    def answers(self, inputs: Any) -> list[tuple[str, str]]:
        return self.graphs.answers(inputs)

    def dream(self, task: str, class_id: int | None, n: int, key: Key, learnt: Mapping[str, Head]) -> Dreams:
        if task in learnt:
            raise MygoEdgeError(
                f"task {task} was learnt on this device as a head alone; it has no generator to dream with"
            )
        return dream(self.graphs, task, class_id, n, key)

    def usual_novelty(self, names: Sequence[str], learnt: Mapping[str, Head]) -> NDArray[np.float32]:
        tasks = [name for name in names if name in self.graphs.tasks]
        each = -(-CALIBRATION_DREAMS // max(1, len(tasks)))
        parts = [np.empty(0, np.float32)]
        for step, task in enumerate(tasks):
            dreams = self.dream(task, None, each, Key(0, CALIBRATION_STREAM, step), {})
            parts.append(self.scores(dreams.images, names, learnt).novelty)
        return np.concatenate(parts)

    def learn(
        self,
        name: str,
        inputs: Any,
        labels: Sequence[str],
        learnt: Mapping[str, Head],
        *,
        regularisation: float | None = None,
        dreams: int = 256,
    ) -> Head:
        """See `mygo_edge.device.edge_model.EdgeModel.learn_head`."""
        others = {task: head for task, head in learnt.items() if task != name}
        return learn(
            name,
            inputs,
            labels,
            manifest=self.manifest,
            extract=lambda shown: self._features(shown, others),
            dream=lambda task, index: self.dream(task, None, dreams, Key(0, _HEAD_STREAM, index), {}),
            regularisation=regularisation,
        )

    def store(self, folder: Path, task: Head) -> None:
        write_head(head_path(folder, task.name), task)

    def carried(self, task: Head) -> Head:
        require_fit(task, self.manifest.tasks, trunk_of(self.manifest))
        require_width(task, self._width, f"task {task.name}")
        return task

    def read_learnt(self, folder: Path) -> tuple[dict[str, Head], dict[str, str]]:
        return read_heads(folder, self.manifest, self._width)

    @property
    def _width(self) -> int | None:
        """Of the features, where the graph says it."""
        return self.graphs.classifier.outputs.get("features", (None, None))[-1]

    def run_selftest(self, thorough: bool) -> dict[str, float]:
        return run_selftest(self.graphs, thorough)

    def _features(self, images: Any, own: Mapping[str, Head]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of images [n, features], and the logits of the bundle's heads and of `own` [n, classes]."""
        heads = [task.head for task in self.graphs.tasks.values()]
        features, logits = [], []
        for *found, last in self.graphs.classify(images, [*heads, "features"]):
            features.append(last)
            logits.append(np.concatenate([*found, *(head.logits(last) for head in own.values())], 1))
        if not features:
            raise MygoEdgeError("a head cannot be learnt from no images")
        return np.concatenate(features), np.concatenate(logits)
