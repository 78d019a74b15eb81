"""What storing a Gaussian memory smaller, or keeping an older shared factor, changes: measured on dreams."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Precision, SharedFactor, discriminant, dreams, join
from mygo_edge.bundle.own_covariance import OwnCovariances, own_dreams, quadratic
from mygo_edge.bundle.rows import ClassRows, row_discriminant
from mygo_edge.bundle.wake_head import WakeHead, settled
from mygo_edge.device.noise import dream_noise, feature_noise
from mygo_edge.export.gate import Measure
from mygo_edge.export.samples import Purpose

_AS_LIKELY = 0.02  # of a logit: classes that are so near are as likely, as where two are the same
_DREAMS = 10_000  # of all classes together, where that is 10 a class or more
_PER_CLASS = (10, 500)


class Heads(NamedTuple):
    """heads: of the wakes, by task, where there is one; temperature: of all other logits."""

    heads: Sequence[WakeHead | None] = ()
    temperature: float = 1.0


class Memory(NamedTuple):
    """means: by task; shared: what all classes share; own: what each class's covariance has besides, if anything; rows:
    of the classifier, of all tasks, where that is not of means and factor; heads: what says which of a task's classes.
    """

    means: Sequence[ClassMeans]
    shared: SharedFactor
    own: OwnCovariances | None = None
    rows: ClassRows | None = None
    heads: Heads = Heads()

    def classifier(self) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        """Logits of vectors in the transformed space: [n, features] -> [n, classes of all tasks]."""
        means = join(self.means)
        if self.rows is None:
            weight, bias = discriminant(means, self.shared, rule="ridge" if self.own is None else None)
        else:
            weight, bias = row_discriminant(means, self.rows)

        def logits(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
            found = vectors @ weight.T + bias
            if self.own is not None:
                found = found.astype(np.float64) + quadratic(vectors, means, self.own)
            if self.heads.heads:
                widths = [len(task.counts) for task in self.means]
                found = settled(found, vectors, *self.heads, widths)
            return found.astype(np.float64)

        return logits


class LabelledVectors(NamedTuple):
    """vectors: float32 [n, features] in the transformed space; class_id: int64 [n], counted within the task."""

    vectors: NDArray[np.float32]
    class_id: NDArray[np.int64]


def labelled_vectors(memory: Memory) -> list[LabelledVectors]:
    """Dreams of every class, as many each, by task; where real features cannot be, they are brought there."""
    shared = memory.shared
    classes = sum(len(task.counts) for task in memory.means)
    per_class = int(np.clip(_DREAMS // classes, *_PER_CLASS))
    found, start = [], 0
    for step, means in enumerate(memory.means):
        n = per_class * len(means.counts)
        key = {"seed": 0, "stream": int(Purpose.GATE), "step": step}
        z, _ = dream_noise(np.arange(n), len(means.counts), shared.rank, **key)
        noise = feature_noise(np.arange(n), shared.factor.shape[1], shared.rank, **key)
        class_id = np.arange(n) % len(means.counts)
        dreamt = dreams(means, shared, z, noise, class_id)
        rows, start = slice(start, start + len(means.counts)), start + len(means.counts)
        if memory.own is not None:
            dreamt = own_dreams(dreamt, class_id, means, shared, memory.own.take(rows))
        found.append(LabelledVectors(shared.transform(shared.transform.inverse(dreamt)), class_id))
    return found


def memory_measures(
    path: str,
    exact: Memory,
    stored: Memory,
    samples: Sequence[LabelledVectors],
    on: str,
) -> list[Measure]:
    """Accuracy with the task known and unknown, and how often the stored memory answers as the exact one does; an
    answer that the exact one finds as likely counts as well.

    Args:
        path: the file that is judged.
        exact, stored: what is compared.
        samples: labelled vectors by task.
        on: what they are, "dreams" or "real features".
    """
    known, unknown, same = np.zeros(2), np.zeros(2), 0
    classifiers = exact.classifier(), stored.classifier()
    widths = [len(task.counts) for task in exact.means]
    starts = np.cumsum([0, *widths])
    for task, (vectors, class_id) in enumerate(samples):
        own = slice(starts[task], starts[task + 1])
        exactly, asked = classifiers[0](vectors), class_id + starts[task]
        for row, logits in enumerate((exactly, classifiers[1](vectors))):
            known[row] += _alike(exactly, logits[:, own].argmax(1) + starts[task], asked)
            unknown[row] += _alike(exactly, logits.argmax(1), asked)
        same += _alike(exactly, logits.argmax(1), exactly.argmax(1))
    total = sum(len(sample.class_id) for sample in samples)
    return [
        Measure(path, f"accuracy on {on}, task known,", *(known / total).tolist()),
        Measure(path, f"accuracy on {on}, task unknown,", *(unknown / total).tolist()),
        Measure(path, f"agreement with fp32 on {on}", 1.0, same / total),
    ]


def _alike(logits: NDArray[np.float64], answers: NDArray[np.int64], wanted: NDArray[np.int64]) -> int:
    """How many answers [n] are what is wanted, or as likely by the logits [n, classes]."""
    chosen, right = (np.take_along_axis(logits, classes[:, None], 1) for classes in (answers, wanted))
    return int((np.abs(chosen - right) <= _AS_LIKELY).sum())


def divergence(new: SharedFactor, old: SharedFactor) -> float:
    """How different dreams become: the Kullback-Leibler divergence of N(0, new) from N(0, old), in nats a feature.

    Infinite where the two are not of the same space. The closed form of two Gaussians of one mean, by the determinant
    lemma for the factors.
    """
    if new.transform != old.transform or new.factor.shape != old.factor.shape:
        return float("inf")
    precision = Precision(old)
    trace = float(precision.norms(precision.whiten(new.factor)).sum())
    weights = (1 - (precision.basis**2).sum(0)) * precision.scale**2  # diagonal of the inverse of old's covariance
    trace += float((weights * new.diagonal).sum())
    features = new.factor.shape[1]
    return 0.5 * (trace - features + _log_determinant(old) - _log_determinant(new)) / features


def _log_determinant(shared: SharedFactor) -> float:
    scaled = shared.factor / np.sqrt(shared.diagonal.astype(np.float64))
    inner = np.linalg.slogdet(np.eye(shared.rank) + scaled @ scaled.T)[1]
    return float(inner + np.log(shared.diagonal.astype(np.float64)).sum())
