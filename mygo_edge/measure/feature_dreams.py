"""What dreams of features are worth, measured with a linear discriminant in place of a network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from mygo_edge.data.tasks import Task
from mygo_edge.learn.exact import ExactMyGO
from mygo_edge.measure.dreams import FIDELITY_STREAM
from mygo_edge.options import MeasureOptions

MAX_DREAMS, MOST_DREAMS = 50, 4000  # a class, and in all: enough to tell, and little beside the trunk's passes
LEAST_DREAMS = 5  # a class
_RIDGE, _TINY = 1e-6, 1e-12  # where features never vary


def feature_dreams(method: ExactMyGO, tasks: Sequence[Task], options: MeasureOptions) -> dict[str, Any]:
    """The `dreams` part of summary.json, after the last of `tasks`.

    label fidelity: the share of dreams, of classes that have test vectors, that a discriminant fitted to the real test
    vectors gives the asked-for class.
    classification accuracy score: of the test vectors, by a discriminant fitted to dreams alone.
    """
    offsets = np.cumsum([0, *(len(task.classes) for task in tasks)])
    real = np.concatenate([task.test.inputs.numpy() for task in tasks])
    labels = np.concatenate([task.test.labels.numpy() + o for task, o in zip(tasks, offsets, strict=False)])
    each = min(options.dreams_per_class, MAX_DREAMS, max(MOST_DREAMS // int(offsets[-1]), LEAST_DREAMS))
    parts = [
        method.dream(index, each * len(task.classes), stream=FIDELITY_STREAM, step=index)
        for index, task in enumerate(tasks)
    ]
    dreams = np.concatenate([vectors.numpy() for vectors, _ in parts])
    asked = np.concatenate([ids.numpy() + o for (_, ids), o in zip(parts, offsets, strict=False)])
    found = _Judge(real, labels).answers(dreams)
    known = np.isin(asked, labels)
    by_task = [
        float((found[own] == asked[own]).mean())
        for first, last in pairwise(offsets)
        if (own := known & (asked >= first) & (asked < last)).any()
    ]
    score = float((_Judge(dreams, asked).answers(real) == labels).mean())
    return {
        "label_fidelity_by_task": by_task,
        "label_fidelity": float(np.mean(by_task)),
        "classification_accuracy_score": score,
    }


class _Judge:
    """A linear discriminant fitted to vectors [n, features], with one covariance, shrunk as Ledoit & Wolf 2004 say:
    there are often fewer vectors than features.
    """

    def __init__(self, vectors: NDArray, labels: NDArray) -> None:
        self._labels, index = np.unique(labels, return_inverse=True)
        means = np.stack([vectors[labels == label].mean(0, dtype=np.float64) for label in self._labels])
        covariance, _ = ledoit_wolf(vectors - means[index], assume_centered=True)
        covariance.ravel()[:: len(covariance) + 1] += _RIDGE * covariance.trace() / len(covariance) + _TINY
        self._weight = np.linalg.solve(covariance, means.T)  # [features, classes]
        self._bias = -0.5 * (means * self._weight.T).sum(1)

    def answers(self, vectors: NDArray) -> NDArray:
        """[n, features] -> labels [n]."""
        return self._labels[(vectors @ self._weight + self._bias).argmax(1)]
