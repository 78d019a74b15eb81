"""Find what the covariances of classes have of their own, and a factor in which no answer of the classifier is lost."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, Precision, SharedFactor
from mygo_edge.bundle.own_covariance import OwnCovariances
from mygo_edge.learn.features.shared_covariance import SharedCovariance

# How many examples, a feature, the shared covariance is worth beside a class's own: with n examples of a class its own
# counts n / (n + 4 features). Cross-validated within training texts of AG News (7.6k): at 1,200 a class, priors of 2 to
# 8 differ by less than 0.2 points; at 20 to 400 a class, too, answers are never worse than with one covariance.
PRIOR = 4.0
# Where classes have covariances of their own, the shared one is shrunk at least this strongly: leaving examples
# out chooses for one covariance alone, where less does as well. Cross-validated as above: 0.2 points.
LEAST_STRENGTH = 8.0
DIRECTIONS = 32
_BELOW = 0.98  # of the least variance in the span: what the diagonal takes of it, so that a factor is left


class TaskScatters:
    """The scatter of every class of a task, batch after batch: features squared numbers a class, which the learner
    keeps, so it is for trunks of some hundred features or for few classes.
    """

    def __init__(self, classes: int, features: int) -> None:
        self._second = np.zeros((classes, features, features))
        self._sums = np.zeros((classes, features))
        self.counts = np.zeros(classes, np.int64)
        self._shift: Floats | None = None

    def add(self, vectors: Floats, labels: Ids) -> None:
        """vectors: [n, features] in the transformed space; labels: [n], counted within the task."""
        if not len(vectors):
            return
        if self._shift is None:
            self._shift = vectors.mean(0)  # of what is left, squares cancel less
        for label in np.unique(labels):
            part = (vectors[labels == label] - self._shift).astype(np.float64)
            self._second[label] += part.T @ part
            self._sums[label] += part.sum(0)
            self.counts[label] += len(part)

    def scatters(self) -> Floats:
        """[classes, features, features]: the mean of (x - mean)(x - mean)' of each; 0 of a class without examples."""
        counts = np.maximum(self.counts, 1)[:, None]
        means = self._sums / counts
        outer = means[:, :, None] * means[:, None]
        return (self._second / counts[:, None] - outer).astype(np.float32)


def own_covariances(
    scatters: Sequence[NDArray[np.floating]] | Floats,
    counts: Sequence[int] | Ids,
    shared: SharedCovariance,
    directions: int = DIRECTIONS,
    prior: float = PRIOR,
) -> OwnCovariances:
    """The directions in which classes differ most from the covariance that they share, and what they have there.

    A class's whitened deviation is E = a W (S_class - S_pooled) W', where W S W' = I and a = n / (n + prior features),
    less what the shared one is shrunk by. The directions are the leading eigenvectors of the sum of all E squared:
    those that hold most of what the deviations hold.

    Args:
        scatters: of every class, [features, features]: the mean of (x - mean)(x - mean)' in the transformed space.
        counts: examples behind each.
        shared: the covariance of all classes, in full.
        directions: how many; the width of what a class has of its own.
        prior: examples a feature that the shared covariance is worth.
    """
    matrix, pooled = shared.shrunk.matrix, shared.shrunk.covariance
    whitening = np.linalg.inv(np.linalg.cholesky(matrix))  # [features, features]
    deviations = []
    for scatter, count in zip(scatters, counts, strict=True):
        share = (1 - shared.shrunk.shrinkage) * count / (count + prior * len(matrix))
        deviations.append(share * whitening @ (np.asarray(scatter, np.float64) - pooled) @ whitening.T)
    _, vectors = np.linalg.eigh(sum(deviation @ deviation for deviation in deviations))
    chosen = vectors[:, ::-1][:, :directions].T  # [r, features], of the whitened space
    own = np.stack([chosen @ deviation @ chosen.T for deviation in deviations]) + np.eye(len(chosen))
    return OwnCovariances((chosen @ whitening).astype(np.float32), own.astype(np.float32))


def answering_rank(classes: int, directions: int, features: int) -> int:
    """The least rank at which `answering_factor` holds all that it is given: differences D of the means and S^-1 D."""
    return min(directions + 2 * (classes - 1), features)


def answering_factor(
    shared: SharedCovariance, means: ClassMeans, rank: int, directions: Floats | None = None
) -> SharedFactor:
    """U and d of U'U + diag(d) that give the very classifier of the full covariance, at any rank of twice the classes.

    Principal components keep what varies most; features of text vary in many directions, and what tells classes apart
    lies elsewhere: at rank 64 they cost AG News (7.6k) one to two points. Here the span of U holds, besides
    components, the differences D of the class means and S^-1 D; in this span the covariance is kept, so S^-1 D comes
    out as it is (a Galerkin projection that holds the solution). Outside of it the variance is one share of each
    feature's own, as large as a factor allows: dreams vary less there, where no answer depends on it.

    Args:
        shared: the covariance in full.
        means: of all classes. Of many, the leading differences are kept, a quarter of the rank.
        rank: rows of U.
        directions: [r, features], more of the span: `OwnCovariances.directions`.
    """
    matrix = shared.shrunk.matrix
    deviations = np.sqrt(matrix.diagonal())
    correlations = matrix / np.outer(deviations, deviations)
    away = (means.means - means.means.mean(0, dtype=np.float64)) / deviations
    solved = np.linalg.solve(correlations, away.T).T
    values, vectors = np.linalg.eigh(solved @ away.T)  # how far apart classes are, in combinations of classes
    kept = vectors[:, values > values.max() * 1e-9].T[::-1][: max(1, rank // 4)]
    _, components = np.linalg.eigh(correlations)
    parts = [kept @ away, kept @ solved, components.T[::-1]]
    if directions is not None:
        parts.insert(0, directions * deviations)
    rows = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])[:rank]
    span, _ = np.linalg.qr(rows.T)  # [features, rank]
    variances, turned = np.linalg.eigh(span.T @ correlations @ span)
    outside = (len(matrix) - variances.sum()) / max(len(matrix) - len(variances), 1)
    level = min(outside, _BELOW * variances.min()) if len(variances) < len(matrix) else _BELOW * variances.min()
    factor = ((span @ turned) * np.sqrt(variances - level)).T * deviations  # [rank, features]
    factor *= np.where(factor[:, :1] < 0, -1, 1)  # of two equal answers always the same
    diagonal = level * matrix.diagonal()
    # In the order in which a checkpoint gives it back, so that a run that goes on computes the same bits.
    rows, variances = factor.astype(np.float32, order="C"), diagonal.astype(np.float32)
    result = SharedFactor(rows, variances, shared.transform, shared.shrunk.shrinkage, 0.0)
    return replace(result, spread=_spread(Precision(result), shared.shrunk.covariance))


def _spread(precision: Precision, covariance: Floats) -> float:
    """The mean squared distance of real features to their class: the trace of (U'U + diag(d))^-1 C."""
    return float(np.einsum("ij,ij->", precision.times(covariance), np.eye(len(covariance))))
