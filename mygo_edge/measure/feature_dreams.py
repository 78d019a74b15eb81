"""What dreams of features are worth, measured with a linear discriminant of scikit-learn in place of a network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mygo_edge.data.tasks import Task
from mygo_edge.learn.exact import ExactMyGO
from mygo_edge.measure.dreams import FIDELITY_STREAM
from mygo_edge.options import MeasureOptions

MAX_DREAMS = 50  # a class: enough to tell, and little beside the trunk's passes


def feature_dreams(method: ExactMyGO, tasks: Sequence[Task], options: MeasureOptions) -> dict[str, Any]:
    """The `dreams` part of summary.json, after the last of `tasks`.

    label fidelity: the share of dreams that a discriminant fitted to the real test vectors gives the asked-for class.
    classification accuracy score: of the test vectors, by a discriminant fitted to dreams alone.
    """
    offsets = np.cumsum([0, *(len(task.classes) for task in tasks)])
    real = np.concatenate([task.test.inputs.numpy() for task in tasks])
    labels = np.concatenate([task.test.labels.numpy() + o for task, o in zip(tasks, offsets, strict=False)])
    each = min(options.dreams_per_class, MAX_DREAMS)
    parts = [
        method.dream(index, each * len(task.classes), stream=FIDELITY_STREAM, step=index)
        for index, task in enumerate(tasks)
    ]
    dreams = np.concatenate([vectors.numpy() for vectors, _ in parts])
    asked = np.concatenate([ids.numpy() + o for (_, ids), o in zip(parts, offsets, strict=False)])
    found = _judge(real, labels).predict(dreams)
    by_task = [
        float((found[own] == asked[own]).mean())
        for first, last in pairwise(offsets)
        if (own := (asked >= first) & (asked < last)).any()
    ]
    score = float((_judge(dreams, asked).predict(real) == labels).mean())
    return {
        "label_fidelity_by_task": by_task,
        "label_fidelity": float(np.mean(by_task)),
        "classification_accuracy_score": score,
    }


def _judge(vectors: np.ndarray, labels: np.ndarray) -> LinearDiscriminantAnalysis:
    # Shrunk as Ledoit & Wolf 2004 say: there are often fewer vectors than features.
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(vectors, labels)
