"""Ours and its rivals on the same vectors of texts: what `bench/text.py` and `bench/text_long.py` measure.

Everything of ours answers from the files that a device gets.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.calibration import Calibration, write_calibration
from mygo_edge.bundle.gaussian import ClassMeans, Precision, SharedFactor, discriminant, join, novelty
from mygo_edge.bundle.gaussian_files import read_means, read_shared, write_means, write_shared
from mygo_edge.bundle.own_covariance import OwnCovariances, quadratic, read_own, write_own
from mygo_edge.learn.moments import PooledMoments, TaskMoments
from mygo_edge.learn.own_calibration import Known, calibration, copied, measure
from mygo_edge.learn.own_covariance import (
    LEAST_STRENGTH,
    TaskScatters,
    answering_factor,
    answering_rank,
    own_covariances,
)
from mygo_edge.learn.rivals import FeCAM, Finetune, Joint, NearestMean, RanPAC, Rival, StreamingLDA
from mygo_edge.learn.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.strength import Strength, left_out
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
    """What a device reads of some tasks. shared: the covariance in full, which it does not get; bytes: of files, by
    role; seconds: that learning took.
    """

    means: ClassMeans
    factor: SharedFactor
    own: OwnCovariances
    shared: SharedCovariance
    calibration: Calibration | None
    bytes: dict[str, int]
    seconds: float


def remembered(stream: Stream, trunk: TextTrunk, tasks: int) -> Remembered:
    """The memory as the first tasks come, and the exact sleep after the last of them."""
    start = time.perf_counter()
    width = stream.train[0].shape[1]
    pooled, strength = PooledMoments.empty(width), Strength()
    means: list[ClassMeans] = []
    scatters: list[Vectors] = []
    measured: list[NDArray[np.float64]] = []
    for number in range(tasks):
        vectors, labels = stream.task(number)
        place = stream.own_labels(number)
        transformed, own_labels, classes = TRANSFORM(vectors), labels - place.start, place.stop - place.start
        before = Known(copied(pooled), list(means), list(scatters))
        moments = TaskMoments([str(label) for label in range(classes)], width)
        moments.add(transformed, own_labels)
        means.append(moments.pool(pooled))
        if strength.due(pooled, len(labels)):
            strength.learn(left_out(pooled, join(means), place, transformed, own_labels), len(labels), pooled)
        strongest, directions = max(strength.best, LEAST_STRENGTH), trunk.directions_for(place.stop)
        row = measure(before, transformed, own_labels, strongest, directions, TRANSFORM)
        measured += [] if row is None else [row]
        alone = TaskScatters(classes, width)
        alone.add(transformed, own_labels)
        scatters += list(alone.scatters())
    known = join(means)
    shared = SharedCovariance(shrink(pooled, max(strength.best, LEAST_STRENGTH)), TRANSFORM)
    own = own_covariances(scatters, known.counts, shared, directions)
    rank = answering_rank(len(known.counts), directions, width)
    factor = write_shared(answering_factor(shared, known, rank, own.directions), "int8")
    files = [write_means(part) for part in means]
    again = join([read_means(data, "means", width, len(part.counts)) for data, part in zip(files, means, strict=True)])
    read = read_shared(factor, "factor")
    own_file = write_own(own, read)
    scale = calibration(measured)
    seconds = time.perf_counter() - start
    sizes = {"factor": len(factor), "means": sum(map(len, files)), "own": len(own_file)}
    sizes["calibration"] = 0 if scale is None else len(write_calibration(scale))
    return Remembered(again, read, read_own(own_file, "own", read, len(known.counts)), shared, scale, sizes, seconds)


def ours(stream: Stream, trunk: TextTrunk) -> dict[str, dict[str, Any]]:
    """All tasks, answered from the files that a device gets."""
    memory = remembered(stream, trunk, len(stream.order))
    vectors, labels = stream.test
    linear = answers(vectors, memory.means, memory.factor)
    both = linear + quadratic(TRANSFORM(vectors), memory.means, memory.own)
    principal = memory.shared.factor(memory.factor.rank, memory.means).shared
    parts = memory.bytes
    size = parts["factor"] + parts["means"] + parts["calibration"]
    note = {"shrinkage": memory.factor.shrinkage, "seconds": memory.seconds}
    logits = {
        "mygo, covariances of their own": (both, {"bytes": size + parts["own"], **note}),
        "mygo, one covariance": (linear, {"bytes": size, **note}),
        "one covariance, factor of principal components": (
            answers(vectors, memory.means, read_shared(write_shared(principal, "int8"), "factor")),
            {"bytes": size},
        ),
    }
    return {
        name: {**accuracy(found, labels, stream.groups, stream.order), **more} for name, (found, more) in logits.items()
    }


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
    assert whole.calibration is not None
    assert part.calibration is not None
    vectors, labels = stream.test
    logits, strange = scored(vectors, whole)
    known = stream.groups[labels] < tasks - 1
    _, found = scored(vectors, part)
    limit = np.quantile(part.calibration.novelty, 0.95)
    temperature = whole.calibration.temperature
    return {
        "error": calibration_error(logits / temperature, labels),
        "error_before": calibration_error(logits, labels),
        "temperature": temperature,
        "false_alarms": float((strange > np.quantile(whole.calibration.novelty, 0.95)).mean()),
        "auroc": auroc(found[~known], found[known]),
        "rejected": float((found[~known] > limit).mean()),
    }


def scored(vectors: Vectors, memory: Remembered) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Logits [n, classes] and novelty [n], as a device computes them."""
    transformed, precision = TRANSFORM(vectors), Precision(memory.factor)
    logits = answers(vectors, memory.means, memory.factor) + quadratic(transformed, memory.means, memory.own)
    largest = logits.max(1)
    from_centre = precision.norms(precision.whiten(transformed - memory.means.means.mean(0, dtype=np.float64)))
    return logits, novelty(np.maximum(from_centre - 2 * largest, 0), largest, memory.factor)


def calibration_error(logits: NDArray[np.float64], labels: Labels) -> float:
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


def answers(vectors: Vectors, means: ClassMeans, shared: SharedFactor) -> NDArray[Any]:
    """Logits [n, classes], as a device computes them."""
    weight, bias = discriminant(means, shared, denoise=False)
    return TRANSFORM(vectors) @ weight.T + bias


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
