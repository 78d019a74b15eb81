"""The classifier of rows of many classes, to which a few come at a time. Noise is taken out of all means in common,
which costs O(classes^2 features); until there are enough new ones for that, a new class costs its own row.
"""

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.denoising import denoising, doubt, similar
from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, biases, middle_of
from mygo_edge.bundle.rows import ClassRows

# Of the classes that were denoised in common; from 1.1 on the newest get more than their share of answers.
_RENEWED = 1.05


class Denoised:
    """Weight [classes, features] and bias [classes]: of all classes as `mygo_edge.bundle.rows.row_discriminant` has
    them, and of those that came `beside` them. scale: how large their logits are beside those of means as they are.
    """

    def __init__(self, means: ClassMeans, rows: ClassRows) -> None:
        many = similar(means.counts)
        self._counts, self._doubted = means.counts, doubt(means.counts[many]) * rows.spread
        self._middle, self._centre = (middle_of(each, many) for each in (means.means, rows.rows))
        self._away, weight = self._from_centre(means, rows)
        inner = (weight @ self._away.T).astype(np.float64)
        self._mix, norms, noise = denoising(inner, means.counts, rows.spread, many, "ridge")
        self._inner, self._own = inner.astype(np.float32), np.float32(self._mix.diagonal().mean())
        self.scale = _slope(self._mix, inner)
        self.weight = self._mix @ weight
        self.bias = biases(self.weight, norms - noise, self._middle)

    def takes(self, counts: Ids) -> bool:
        """Whether classes may come beside, so that there are as many as `counts`, the images behind each."""
        return len(counts) < _RENEWED * len(self._counts) and bool(similar(counts).all())

    def beside(self, means: ClassMeans, rows: ClassRows) -> None:
        """Add classes.

        Each keeps as much of its own mean as the others keep of theirs on average. For the rest stands what these
        predict of it: a regression by (I - mix) / noise, which is the inverse of their products where those are
        long; how much noise, `doubt` says.
        """
        away, weight = self._from_centre(means, rows)
        products = weight @ self._away.T  # [new, classes]
        counted = products * self._counts.astype(np.float32)
        predicted = (counted - counted @ self._mix) * ((1 - self._own) / np.float32(self._doubted))
        mixed = predicted @ self._mix  # of the others' rows, with their noise
        crossed = (2 * self._own * products + mixed @ self._inner) * mixed
        norms = self._own**2 * (weight * away).sum(1) + crossed.sum(1)
        weight = self._own * weight + predicted @ self.weight[: len(self._counts)]
        self.weight = np.concatenate([self.weight, weight])
        self.bias = np.concatenate([self.bias, biases(weight, norms, self._middle)])

    def _from_centre(self, means: ClassMeans, rows: ClassRows) -> tuple[Floats, Floats]:
        """Means and rows, each from the centre of those that were denoised in common."""
        return (means.means - self._middle).astype(np.float32), (rows.rows - self._centre).astype(np.float32)


def _slope(mix: Floats, inner: NDArray[np.float64]) -> float:
    """The slope of mixed logits on logits as they are, less their mean over classes: from the second moments of the
    latter over features of all classes, between classes and within. mix, inner: [classes, classes], as `denoising` has
    them; rows R of means M have R M' = R S R' = inner.
    """
    moments = inner @ inner / len(inner) + inner
    total = np.trace(moments) - moments.sum() / len(inner)
    mixed = (mix * moments).sum() - mix.sum(0) @ moments.sum(1) / len(inner)
    return float(mixed / total) if total > 0 else 1.0
