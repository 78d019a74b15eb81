"""Taking the noise out of class means that are estimates: shared by box and device. numpy only.

A mean of n images lies off its class by noise. How much of what lies between means is noise shows where there are many
of them: in coordinates where the noise is the same in all directions, by how long their directions are.
"""

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import Rule

TINY = 1e-12
Counts = NDArray[np.int64]
# Of few images a class neither the means nor the covariance that measures them says much, and directions that are told
# from noise by luck cost answers. So all shrink, as if noise were five times as much, by a share of 10 / (10 + images).
_DOUBT, _FEW = 5.0, 10.0
# Of a direction of the means that is no longer than noise, or of a mean: too few images show nothing, which is not that
# there is nothing. From 0.1 to 0.3 answers are as good; with 0, all logits of two noisy classes are equal.
_LEAST_SIGNAL = 0.2
_SIMILAR = 0.25  # share of the median count: a mean of fewer images would be taken for noise among the others


def similar(counts: Counts) -> NDArray[np.bool_]:
    """Which classes have so many images that their means shrink together, [classes]: see `denoising`. All, where it
    would be one: a mean alone has no centre but itself.
    """
    many = counts >= np.median(counts) * _SIMILAR
    return many if many.sum() > 1 else np.full(len(counts), True)


def _few(counts: Counts) -> float:
    """How few images the classes have in the middle, from 0 to 1."""
    return float(_FEW / (_FEW + np.median(counts)))


def doubt(counts: Counts) -> float:
    """How many times the noise the rule "ridge" takes from a long direction."""
    return 1 + (_DOUBT - 1) * _few(counts)


def denoising(
    inner: NDArray[np.float64], counts: Counts, spread: float, many: NDArray[np.bool_], rule: Rule
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """The matrix [classes, classes] that takes the noise out of means, their squared norms [classes] then, and the
    noise that these have left.

    Means of similar numbers of images shrink together: in coordinates where the noise is the same in all directions,
    their singular values shrink as far as noise explains them (empirical Bayes, Efron & Morris 1972; Gavish & Donoho
    2017). Of a few images alone nothing says which direction is noise, so such a mean is drawn in to the length that
    the others have.

    Args:
        inner: [classes, classes], products of the means under the precision, from their centre.
        counts: [classes], images behind each.
        spread: mean squared Mahalanobis distance of features to the mean of their class.
        many: [classes], as `similar` says.
        rule: what is kept of a direction whose squared length is x, where noise has v, which is `spread`. truncated,
            of bundles that name no rule: 1 - v / x, a fifth at least. ridge: of classes of few images rather
            x / (x + 5 v), as in a ridge regression (docs/exact-sleep.md).
    """
    norms, noise = inner.diagonal(), spread / counts
    signal = max(float((norms - noise)[many].mean()), 0.0)
    share = np.maximum(signal / np.maximum(signal + noise, TINY), _LEAST_SIGNAL)
    mix, norms = np.diag(np.sqrt(share).astype(np.float32)), share * norms
    alike = (slice(None), slice(None)) if many.all() else np.ix_(many, many)

    root = np.sqrt(counts[many])
    lengths, directions = np.linalg.eigh(inner[alike] * np.outer(root, root))
    lengths = np.maximum(lengths, TINY)
    kept = np.maximum(1 - spread / lengths, _LEAST_SIGNAL)
    if rule == "ridge":
        few = _few(counts[many])
        kept = (1 - few) * kept + few * lengths / (lengths + _DOUBT * spread)
    half = directions * np.sqrt(kept)
    together = half @ half.T * (root / root[:, None])
    mix[alike], norms[many] = together, ((together @ inner[alike]) * together).sum(1)
    return mix, norms, np.where(many, 0, share * noise)
