"""What dreams of features are worth, measured with a linear discriminant in place of a network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from mygo_edge.data.tasks import Task
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.measure.dreams import FIDELITY_STREAM
from mygo_edge.options import MeasureOptions

# In all, and of a class: for fidelity few are enough to tell; a classifier of thousands of features takes many.
FIDELITY_DREAMS, SCORE_DREAMS = (4000, 50), (10_000, 1000)
LEAST_DREAMS = 5  # a class
_TINY = 1e-12  # where features never vary


def feature_dreams(method: ExactMyGO, tasks: Sequence[Task], options: MeasureOptions, score: bool) -> dict[str, Any]:
    """The `dreams` part of summary.json, after the last of `tasks`.

    label fidelity: the share of dreams, of classes that have test vectors, that a discriminant fitted to the real test
    vectors gives the asked-for class.
    classification accuracy score: of the test vectors, by a discriminant fitted to dreams alone; None unless `score`.
    """
    transform = method.domain.transformed
    offsets = np.cumsum([0, *(len(task.classes) for task in tasks)])
    real = transform(np.concatenate([task.test.inputs.numpy() for task in tasks]))
    labels = np.concatenate([task.test.labels.numpy() + o for task, o in zip(tasks, offsets, strict=False)])
    most, of_class = SCORE_DREAMS if score else FIDELITY_DREAMS
    each = min(options.dreams_per_class, of_class, max(most // int(offsets[-1]), LEAST_DREAMS))
    parts = [
        method.dream(index, each * len(task.classes), stream=FIDELITY_STREAM, step=index)
        for index, task in enumerate(tasks)
    ]
    dreams = np.concatenate([transform(vectors.numpy()) for vectors, _ in parts])
    asked = np.concatenate([ids.numpy() + o for (_, ids), o in zip(parts, offsets, strict=False)])
    found = _Judge(real, labels).answers(dreams)
    known = np.isin(asked, labels)
    by_task = [
        float((found[own] == asked[own]).mean())
        for first, last in pairwise(offsets)
        if (own := known & (asked >= first) & (asked < last)).any()
    ]
    by_dreams = float((_Judge(dreams, asked).answers(real) == labels).mean()) if score else None
    return {
        "label_fidelity_by_task": by_task,
        "label_fidelity": float(np.mean(by_task)),
        "classification_accuracy_score": by_dreams,
    }


class _Judge:
    """A linear discriminant fitted to vectors [n, features] in the transformed space, with one covariance, shrunk as if
    as many vectors as features had shown a diagonal one (`mygo_edge.learn.features.shared_covariance.shrink`).
    """

    def __init__(self, vectors: NDArray, labels: NDArray) -> None:
        self._labels, index = np.unique(labels, return_inverse=True)
        means = np.stack([vectors[labels == label].mean(0, dtype=np.float64) for label in self._labels])
        rest = (vectors - means[index]).astype(np.float32)
        freedom, features = max(len(vectors) - len(means), 1), vectors.shape[1]
        amount = features / (features + freedom)
        matrix = ((1 - amount) / freedom * (rest.T @ rest)).astype(np.float64)
        variances = matrix.diagonal() / (1 - amount)
        matrix.ravel()[:: features + 1] += amount * (variances + variances.mean()) / 2 + _TINY
        self._weight = solve(matrix, means.T, assume_a="pos")  # [features, classes]
        self._bias = -0.5 * (means * self._weight.T).sum(1)

    def answers(self, vectors: NDArray) -> NDArray:
        """[n, features] -> labels [n]."""
        return self._labels[(vectors @ self._weight + self._bias).argmax(1)]
