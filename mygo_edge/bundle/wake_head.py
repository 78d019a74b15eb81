"""A task's head as its wake learnt it: which of its classes an input is, once it is clear that it is the task's.

numpy only.

All classes share one covariance, so that their logits compare across tasks. That of a task alone, where its images show
one, tells its own classes apart better (docs/exact-sleep.md). So the best logit of each task says whether the input is
the task's, and the wake's head which of its classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import Floats
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import ERRORS, array_names, read_arrays, write_arrays
from mygo_edge.bundle.rows import checked, checked_levels, from_levels, require, to_levels


@dataclass(frozen=True, slots=True)
class WakeHead:
    """weight: [classes, features] and bias: [classes], float32, of vectors in the transformed space; a softmax of what
    they give is calibrated as it is.
    """

    weight: Floats
    bias: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """[n, features] -> logits [n, classes]."""
        logits: Floats = vectors @ self.weight.T + self.bias
        return logits


def settled(
    logits: Floats,
    vectors: Floats,
    heads: Sequence[WakeHead | None],
    temperature: float,
    widths: Sequence[int],
    prior: NDArray | None = None,
) -> Floats:
    """Logits of all tasks, in which each task's own head says which of its classes: their maximum over a task stays.

    Args:
        logits: [n, classes of all tasks], with what frequencies add to them.
        vectors: [n, features] in the transformed space.
        heads: of each task; None leaves a task's logits as they are.
        temperature: what logits are to be divided by to be calibrated.
        widths: classes of each task.
        prior: [classes of all tasks], what was added to logits for their frequencies.
    """
    if not any(heads):
        return logits
    found, start = logits.copy(), 0
    for head, width in zip(heads, widths, strict=True):
        own = slice(start, start + width)
        if head is not None:
            within = head(vectors) * np.float32(temperature)
            if prior is not None:
                within += prior[own].astype(np.float32)
            found[:, own] = within + (logits[:, own].max(1) - within.max(1))[:, None]
        start = own.stop
    return found


def stored_head(head: WakeHead) -> WakeHead:
    """As `read_head` gives what `write_head` wrote."""
    return WakeHead(from_levels(*to_levels(head.weight)), head.bias.astype(np.float32))


def write_head(head: WakeHead) -> bytes:
    """As bytes: weights in int8, as rows of the classifier are (`mygo_edge.bundle.rows.write_rows`)."""
    levels, scale = to_levels(head.weight)
    return write_arrays({"weights": levels, "scale": scale, "bias": head.bias.astype(np.float32)})


def read_head(data: bytes, name: str, features: int, classes: int) -> WakeHead:
    """Read what `write_head` wrote.

    Raises:
        BundleError: naming the file; not such an archive, or not of so many classes and features.
    """
    expected = {"weights", "scale", "bias"}
    try:
        require(array_names(data) == expected, f"it does not hold {sorted(expected)}")
        arrays = read_arrays(data, expected)
        head = WakeHead(
            checked_levels(arrays, "weights", features, classes),
            checked(arrays, "bias", classes),
        )
    except ERRORS as error:
        raise BundleError(f"{name} holds no head of a task ({error}); publish or fetch it again") from error
    return head
