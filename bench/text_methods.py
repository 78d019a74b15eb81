"""Ours and its rivals on the same vectors of texts: what `bench/text.py` and `bench/text_long.py` measure.

Everything of ours answers from the files that a device gets.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import SharedFactor, discriminant, join
from mygo_edge.bundle.gaussian_files import read_shared, write_shared
from mygo_edge.bundle.reading import read_bundle
from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Task
from mygo_edge.device.features import FeatureEngine
from mygo_edge.device.session import SessionOptions
from mygo_edge.domains.features import Features
from mygo_edge.export.publication import publish_learner
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.learn.features.own_covariance import LEAST_STRENGTH
from mygo_edge.learn.features.rivals import FeCAM, Finetune, Joint, NearestMean, RanPAC, Rival, StreamingLDA
from mygo_edge.learn.phase import Phase
from mygo_edge.options import TrainOptions
from mygo_edge.trunks.text import TRANSFORM, TextTrunk

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stream:
    """Tasks as they come. train, test: vectors and labels, which rise from task to task; groups: of which task every
    label is; order: names of the tasks, as numbers, in the order in which they are learnt.
    """

    train: tuple[Vectors, Labels]
    test: tuple[Vectors, Labels]
    groups: Labels
    order: Sequence[int]

    def task(self, number: int) -> tuple[Vectors, Labels]:
        """Vectors and labels of the task learnt as this number."""
        vectors, labels = self.train
        chosen = self.groups[labels] == number
        return vectors[chosen], labels[chosen]

    def own_labels(self, number: int) -> slice:
        """Of the task learnt as this number."""
        return slice(int((self.groups < number).sum()), int((self.groups <= number).sum()))


@dataclass(frozen=True, slots=True)
class Remembered:
    """Some tasks, learnt and published. learner: of the box; device: on the bundle; bytes: of the bundle's files, by
    role; seconds: that wakes and sleeps took.
    """

    learner: ExactMyGO
    device: FeatureEngine
    bytes: dict[str, int]
    seconds: float

    @property
    def factor(self) -> SharedFactor:
        """As the device read it."""
        return self.device.shared

    @property
    def temperature(self) -> float:
        """That logits of the device are divided by."""
        calibration = self.learner.calibration
        return 1.0 if calibration is None else calibration.temperature

    def scored(self, vectors: Vectors) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        """Logits [n, classes], before they are divided, and novelty [n], as the device computes them."""
        logits, novelty = self.device.score(TRANSFORM(vectors), list(self.device.published), {})
        return logits * np.float32(self.temperature), novelty

    def linear(self, vectors: Vectors) -> NDArray[np.floating]:
        """Logits [n, classes] by the covariance that all classes share, alone."""
        parts = [TRANSFORM(vectors) @ task.weight.T + task.bias for task in self.device.published.values()]
        return np.concatenate(parts, 1)


def remembered(stream: Stream, trunk: TextTrunk, tasks: int, directions: int | None = None) -> Remembered:
    """The first tasks as they come, a wake and an exact sleep each, and the bundle of them all.

    directions: in which classes have covariances of their own, where that is not the trunk's to say.
    """
    domain = Features(trunk, threads=1, batch=1)
    if directions is not None:
        domain.directions = lambda counts: directions
    cpu = torch.device("cpu")
    learner = ExactMyGO(domain, TrainOptions(trunk=trunk.name), cpu)
    named: list[tuple[str, list[str]]] = []
    seconds = 0.0
    for number in range(tasks):
        vectors, labels = stream.task(number)
        place = stream.own_labels(number)
        classes = [f"class{label}" for label in range(place.start, place.stop)]
        split = Split(torch.from_numpy(vectors), torch.from_numpy(labels - place.start))
        task = Task(f"task{number}", classes, split, None, prepare=_as_it_is)
        named.append((task.name, classes))
        start = time.perf_counter()
        for phase in learner.phases(number, [task]):
            phase.work(Phase(cpu, 0))
        seconds += time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        publish_learner(Path(folder), learner, named, learner_id="0" * 32, sequence=1)
        bundle = read_bundle(Path(folder))
    assert bundle.manifest.trunk is not None
    device = FeatureEngine(bundle, bundle.manifest.trunk, SessionOptions(), None)
    sizes: dict[str, int] = {}
    for file in bundle.manifest.files:
        sizes[file.role] = sizes.get(file.role, 0) + file.size
    return Remembered(learner, device, sizes, seconds)


def _as_it_is(vectors: Any) -> torch.Tensor:
    """Vectors need no trunk."""
    assert isinstance(vectors, torch.Tensor)
    return vectors


def ours(stream: Stream, trunk: TextTrunk, directions: int | None = None) -> dict[str, dict[str, Any]]:
    """All tasks, answered from the files that a device gets."""
    memory = remembered(stream, trunk, len(stream.order), directions)
    vectors, labels = stream.test
    size = sum(memory.bytes.get(role, 0) for role in ("factor", "generator", "calibration"))
    note = {"shrinkage": memory.factor.shrinkage, "seconds": memory.seconds}
    both, _ = memory.scored(vectors)
    logits: dict[str, tuple[NDArray[np.floating], dict[str, Any]]] = {
        "mygo, covariances of their own": (both, {"bytes": size + memory.bytes["covariances"], **note}),
        "mygo, one covariance": (memory.linear(vectors), {"bytes": size, **note}),
        "one covariance, factor of principal components": (principal(memory, vectors), {"bytes": size}),
    }
    return {
        name: {**accuracy(found, labels, stream.groups, stream.order), **more} for name, (found, more) in logits.items()
    }


def principal(memory: Remembered, vectors: Vectors) -> NDArray[np.floating]:
    """Logits [n, classes] by a factor of principal components, of the same rank, stored alike."""
    assert memory.learner.memory is not None
    means = join([task.memory.means for task in memory.device.published.values()])
    shared = memory.learner.memory.covariance(LEAST_STRENGTH).factor(memory.factor.rank, means).shared
    weight, bias = discriminant(means, read_shared(write_shared(shared, "int8"), "factor"), rule=None)
    return TRANSFORM(vectors) @ weight.T + bias


def assessed(stream: Stream, trunk: TextTrunk) -> dict[str, float]:
    """How sure the answers of a device are, all tasks learnt, and how it tells texts of a task that it has not learnt.

    Returns:
        error, error_before: expected calibration error of ten bins, with the temperature that the box measured and
        without; temperature; false_alarms: share of known texts above the threshold for 0.05; auroc: of novelty, texts
        of the first tasks against those of the last, which was not learnt; rejected: share of the latter above that
        threshold.
    """
    tasks = len(stream.order)
    whole, part = remembered(stream, trunk, tasks), remembered(stream, trunk, tasks - 1)
    vectors, labels = stream.test
    logits, strange = whole.scored(vectors)
    known = stream.groups[labels] < tasks - 1
    _, found = part.scored(vectors)
    limits = [np.quantile(each.device.usual_novelty(list(each.device.published), {}), 0.95) for each in (whole, part)]
    return {
        "error": calibration_error(logits / whole.temperature, labels),
        "error_before": calibration_error(logits, labels),
        "temperature": whole.temperature,
        "false_alarms": float((strange > limits[0]).mean()),
        "auroc": auroc(found[~known], found[known]),
        "rejected": float((found[~known] > limits[1]).mean()),
    }


def calibration_error(logits: NDArray[np.floating], labels: Labels) -> float:
    """Mean distance of how sure answers are to how often they are right, in ten bins (Guo et al. 2017)."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    sure, right = shares.max(1), shares.argmax(1) == labels
    bins = np.minimum((sure * 10).astype(int), 9)
    return float(sum(abs(right[bins == one].sum() - sure[bins == one].sum()) for one in range(10)) / len(labels))


def auroc(high: NDArray, low: NDArray) -> float:
    """The chance that one of `high` is above one of `low`."""
    ordered = np.sort(low)
    below, above = np.searchsorted(ordered, high, "left"), np.searchsorted(ordered, high, "right")
    return float((below + above).mean() / 2 / len(low))


def rivals(stream: Stream, seed: int) -> dict[str, dict[str, Any]]:
    width = stream.train[0].shape[1]
    contenders: dict[str, Rival] = {
        "ncm": NearestMean(),
        "slda": StreamingLDA(),
        "fecam": FeCAM(),
        "ranpac": RanPAC(width, seed=seed),
        "finetune": Finetune(seed),
        "joint": Joint(seed),
    }
    found = {}
    for name, rival in contenders.items():
        start = time.perf_counter()
        for number in range(len(stream.order)):
            rival.learn(*stream.task(number))
        logits = np.asarray(rival.logits(stream.test[0]))
        found[name] = {
            **accuracy(logits, stream.test[1], stream.groups, stream.order),
            "bytes": rival.bytes,
            "seconds": time.perf_counter() - start,
        }
    return found


def accuracy(logits: NDArray[Any], labels: Labels, groups: Labels, order: Sequence[int]) -> dict[str, Any]:
    """Shares of right answers, the task known and unknown; `tasks`: known, by the names in `order`."""
    task = groups[labels]
    outside = groups[: logits.shape[1]] != task[:, None]
    known = np.where(outside, -np.inf, logits).argmax(1) == labels
    parts = {where: float(known[task == number].mean()) for number, where in enumerate(order)}
    return {
        "known": float(known.mean()),
        "unknown": float((logits.argmax(1) == labels).mean()),
        "tasks": [parts[task] for task in range(len(order))],
    }
