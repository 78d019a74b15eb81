"""Fit a new head on the frozen features of a classifier, beside heads that stay as they are. numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Chosen by the accuracy with the task unknown on Split-MNIST, of 0.1, 0.01 and 0.001 with 10 to 2,000 images.
_SPARE, _LEAST = 0.1, 1e-3
_STEPS = 400
_TOLERANCE = 1e-5  # of the gradient, where the fit ends early


@dataclass(frozen=True, slots=True)
class Others:
    """What the heads that are there say. Old classes are the columns of all old heads side by side.

    on_new: [n, old classes], their logits of the new task's images. features: [m, features] of dreams of old tasks;
    logits: [m, old classes] of those; labels: int64 [m], the old class that each dream is of.
    """

    on_new: NDArray[np.float32]
    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]


def fit_head(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    others: Others,
    regularisation: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight [classes, features] and bias [classes] of a new head.

    Two softmax regressions at once, with an L2 penalty: the head's own classes among each other, for when the task is
    known; and all classes, old logits fixed, on the new images and on dreams of the old tasks, for when it is not. A
    head that was only told its own task would not be comparable with the others. Every class counts the same, however
    many images it has. Convex, by accelerated gradient descent (Nesterov 1983) with the step 1 / L, so the answer is a
    function of the data alone.

    Args:
        features: [n, features] of the new task's images.
        labels: [n], below `classes`.
        classes: of the new task.
        others: what the old heads say.
        regularisation: weight of the squared norm of the weights, on features of mean 0 and variance 1 (default: less
            for more images, see `_SPARE` and `_LEAST`).
    """
    n, old = len(features), others.on_new.shape[1]
    everything = np.concatenate([features, others.features]).astype(np.float64)
    mean, std = everything.mean(0), everything.std(0)
    std = np.where(std > 1e-6 * max(1.0, float(np.abs(mean).max())), std, np.inf)  # a constant feature says nothing
    x = np.concatenate([(everything - mean) / std, np.ones((len(everything), 1))], 1)  # [n + m, features + 1]
    fixed = np.concatenate([others.on_new, others.logits]).astype(np.float64)
    target = np.concatenate([labels + old, others.labels])
    share = _class_shares(target, old + classes)
    own = share[:n] / share[:n].sum()
    penalty = np.full(x.shape[1], max(_LEAST, _SPARE / n) if regularisation is None else regularisation)
    penalty[-1] = 1e-6  # of the bias: next to none
    step = 1 / (_largest_eigenvalue(x, share) / 2 + _largest_eigenvalue(x[:n], own) / 2 + penalty.max())

    weight = np.zeros((classes, x.shape[1]))
    ahead, momentum = weight, 1.0
    onehot = np.eye(old + classes)[target]
    for _ in range(_STEPS):
        logits = x @ ahead.T  # [n + m, classes]
        unknown = (_softmax(np.concatenate([fixed, logits], 1)) - onehot)[:, old:] * share[:, None]
        known = (_softmax(logits[:n]) - onehot[:n, old:]) * own[:, None]
        gradient = unknown.T @ x + known.T @ x[:n] + ahead * penalty
        moved = ahead - step * gradient
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / faster * (moved - weight)
        weight, momentum = moved, faster
        if np.abs(gradient).max() < _TOLERANCE:
            break
    scaled = weight[:, :-1] / std
    return scaled.astype(np.float32), (weight[:, -1] - scaled @ mean).astype(np.float32)


def _class_shares(target: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """The weight of every sample: all classes that occur weigh the same, and everything 1."""
    counts = np.bincount(target, minlength=classes)
    return 1 / (counts[target] * np.count_nonzero(counts))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def _largest_eigenvalue(x: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Of the weighted second moments of `x`."""
    moments = x.T @ (x * share[:, None])
    return float(np.linalg.eigvalsh(moments)[-1])
