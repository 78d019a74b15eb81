"""The memory in the feature space of a frozen trunk, shared by box and device: numpy only.

A class is a Gaussian around its own mean; its covariance, U'U + diag(d), is one for all classes and tasks. Everything
lives in a power-transformed space, in which features of a trunk are close enough to Gaussian. The classifier that the
sleep would reach with infinitely many dreams is then known in closed form: `discriminant`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.denoising import denoising, similar
from mygo_edge.bundle.manifest import BundleError, Rule

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Product = Callable[[NDArray], NDArray[np.float64]]
MIN_POWER, MAX_POWER = 0.05, 4.0
TINY = 1e-12  # below any norm of a feature vector that is not all zeros


@dataclass(frozen=True, slots=True)
class PowerTransform:
    """How features become nearly Gaussian: divided by their norm where `normalised`, then raised to `power`.

    `signed` keeps the sign, for features that can be negative; without it, negative features count as 0. Powers other
    than 1 for discriminants: Yang et al. 2021, "Free lunch for few-shot learning" (Tukey's ladder of powers).
    """

    power: float = 0.5
    signed: bool = False
    normalised: bool = False

    @classmethod
    def of(cls, features: NDArray, power: float = 0.5) -> "PowerTransform":
        """For a trunk, by the features [n, width] of its first task: signed where any is negative."""
        return cls(power, signed=bool((features < 0).any()))

    @np.errstate(over="ignore", invalid="ignore")  # of hostile numbers; whoever uses the result looks at it
    def __call__(self, features: NDArray) -> Floats:
        """[..., features] of the trunk -> the same shape in the transformed space, float32."""
        vectors = np.asarray(features, np.float32)
        if self.normalised:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(TINY))
        if not self.signed and self.power == 0.5:  # the default, in the fewest passes
            return np.sqrt(np.maximum(vectors, 0))
        return _signed_power(vectors if self.signed else np.maximum(vectors, 0), self.power)

    @np.errstate(over="ignore", invalid="ignore")
    def inverse(self, vectors: NDArray) -> Floats:
        """[..., features] in the transformed space -> features as a trunk gives them; where `normalised`, of norm 1."""
        vectors = np.asarray(vectors, np.float32)
        features = _signed_power(vectors if self.signed else np.maximum(vectors, 0), 1 / self.power)
        if self.normalised:
            features = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), np.float32(TINY))
        return features


def _signed_power(values: Floats, power: float) -> Floats:
    """sign(x) |x|^power; powers that have an exact operation use it, so that all machines agree to the bit."""
    if power == 1:
        return values
    if power == 0.5:
        return np.copysign(np.sqrt(np.abs(values)), values)
    if power == 2:
        return np.copysign(values * values, values)
    return np.copysign(np.abs(values) ** np.float32(power), values)


@dataclass(frozen=True, slots=True)
class SharedFactor:
    """What the Gaussians of all tasks share.

    factor: [rank, features] float32, U in the covariance U'U + diag(diagonal) of the transformed space; diagonal:
    [features] float32, variances, all above 0; shrinkage: the share of the diagonal that the box mixed in; spread: the
    mean squared Mahalanobis distance, under this covariance, of real features to the mean of their class.
    """

    factor: Floats
    diagonal: Floats
    transform: PowerTransform
    shrinkage: float
    spread: float

    @property
    def rank(self) -> int:
        """The width of the noise z of a dream."""
        return len(self.factor)


@dataclass(frozen=True, slots=True)
class ClassMeans:
    """means: [classes, features] float32, in the transformed space; counts: [classes] int64, images behind each."""

    means: Floats
    counts: Ids


def join(tasks: Sequence[ClassMeans]) -> ClassMeans:
    """The classes of several tasks, one after another."""
    return ClassMeans(np.concatenate([task.means for task in tasks]), np.concatenate([task.counts for task in tasks]))


class Precision:
    """Products with the inverse of U'U + diag(d), in float64, by Woodbury's identity: O(rank x features) a vector."""

    def __init__(self, shared: SharedFactor) -> None:
        self.scale = 1 / np.sqrt(shared.diagonal.astype(np.float64))  # [features]
        factor = shared.factor[shared.factor.any(1)] * self.scale  # [rank, features], less rows of nothing
        inner = np.linalg.cholesky(np.eye(len(factor)) + factor @ factor.T)
        # [rank, features]: I - basis' basis = (I + factor' factor)^-1. Numpy solves for so many columns more slowly.
        self.basis = np.linalg.inv(inner) @ factor

    def whiten(self, vectors: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n, features], scaled by the diagonal alone; squared distances are `norms` of these."""
        return vectors * self.scale

    def norms(self, whitened: NDArray) -> NDArray[np.float64]:
        """[n, features], whitened -> [n]: x' S^-1 x."""
        return (whitened**2).sum(1) - ((whitened @ self.basis.T) ** 2).sum(1)

    def times(self, vectors: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n, features]: each vector x becomes S^-1 x."""
        whitened = self.whiten(vectors)
        return (whitened - (whitened @ self.basis.T) @ self.basis) * self.scale


def discriminant(
    means: ClassMeans, shared: SharedFactor, centre: Floats | None = None, rule: Rule | None = "ridge"
) -> tuple[Floats, Floats]:
    """The classifier that sleep reaches with infinitely many dreams: Fisher's linear discriminant.

    See `fisher` for the meaning of the logits, `centre` and `rule`.

    Returns:
        weight [classes, features] and bias [classes], for vectors in the transformed space.

    Raises:
        BundleError: the numbers of a damaged memory do not give finite weights.
    """
    return finite_classifier(lambda: fisher(means, Precision(shared).times, shared.spread, centre, rule))


def finite_classifier(made: Callable[[], tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """The weight and bias that `made` computes. Raises BundleError where a damaged memory gives none."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        try:
            weight, bias = made()
        except np.linalg.LinAlgError as error:
            raise BundleError(f"the shared factor is no covariance ({error}); publish or fetch it again") from error
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise BundleError("the memory of the classes gives no finite classifier; publish or fetch it again")
    return weight, bias


def fisher(
    means: ClassMeans, times: Product, spread: float, centre: Floats | None = None, rule: Rule | None = "ridge"
) -> tuple[Floats, Floats]:
    """Weight [classes, features] and bias [classes] of the linear discriminant, classes taken as equally likely.

    The logits weight x + bias are log-likelihoods less those of a class at `centre`: one scale for all tasks, so a
    task's rows are its head, and arg max over all of them answers an unknown task.

    A mean of n images lies off its class by noise, which adds spread / n to its squared norm, and which the bias takes
    back. A `rule` also takes the noise out of the means (`mygo_edge.bundle.denoising`).

    Args:
        means: of all classes that will be compared.
        times: [n, features] -> the same times the inverse of the covariance.
        spread: mean squared Mahalanobis distance of features to the mean of their class.
        centre: [features], where all logits are 0; unless given, the mean of the means, of many images with a `rule`.
            Heads that are computed apart from one another compare only with the same centre, and without a `rule`.
        rule: how noise is taken out of the means; None leaves it there.

    Raises:
        numpy.linalg.LinAlgError: numbers that are not finite.
    """
    many = similar(means.counts) if rule else np.full(len(means.counts), True)
    middle = middle_of(means.means, many) if centre is None else centre.astype(np.float64)
    away = means.means - middle  # [classes, features]
    weight = times(away).astype(np.float32)  # enough, and twice as fast where classes are hundreds
    inner = (weight @ away.astype(np.float32).T).astype(np.float64)
    return finished(weight, inner, middle, means.counts, spread, many, rule)


def middle_of(rows: Floats, many: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean [features] of those of rows [n, features]; rounding it would move all logits."""
    some = rows if many.all() else rows[many]  # no copy of all
    return np.asarray(some.mean(0, dtype=np.float64))


def finished(
    weight: Floats,
    inner: NDArray[np.float64],
    middle: NDArray[np.float64],
    counts: Ids,
    spread: float,
    many: NDArray[np.bool_],
    rule: Rule | None,
) -> tuple[Floats, Floats]:
    """The weight and bias of `fisher`.

    Args:
        weight: [classes, features], means less middle times the inverse of the covariance.
        inner: [classes, classes], products of weight and means less middle.
        middle: [features], the centre.
        counts, spread, rule: see `fisher`.
        many: [classes], which means shrink together.
    """
    norms, noise = inner.diagonal(), spread / counts
    if rule is not None:
        mix, norms, noise = denoising(inner, counts, spread, many, rule)
        weight = mix @ weight
    return weight, biases(weight, norms - noise, middle)


def biases(weight: Floats, norms: NDArray[np.float64], middle: NDArray[np.float64]) -> Floats:
    """[classes], by the squared norms of the means and the centre of `finished`."""
    return (-0.5 * norms - np.einsum("cf,f->c", weight, middle, dtype=np.float64)).astype(np.float32)


def mahalanobis(
    vectors: NDArray, means: ClassMeans, shared: SharedFactor, precision: Precision | None = None
) -> NDArray[np.float64]:
    """Squared Mahalanobis distances of vectors [n, features], in the transformed space, to all means: [n, classes].
    `precision` is that of `shared`, where it is at hand.

    Dreams of a class lie at about `features` from its mean, real features at about `shared.spread`.
    """
    precision = precision or Precision(shared)
    middle = means.means.mean(0, dtype=np.float64)  # the cross terms below cancel less around it
    x, m = precision.whiten(vectors - middle), precision.whiten(means.means - middle)
    cross = x @ m.T - (x @ precision.basis.T) @ (m @ precision.basis.T).T
    return np.maximum(precision.norms(x)[:, None] - 2 * cross + precision.norms(m), 0)


def novelty(nearest: NDArray, largest: NDArray, shared: SharedFactor) -> Floats:
    """How little vectors look like any class, [n]: two things added up.

    The squared Mahalanobis distance to the nearest class counts by rank / features: its terms depend on one another,
    for real features more than in the model, and there are rather as many as the factor has dimensions. How little a
    vector speaks for any class is -2 x its largest logit. But far from all classes a logit may have any size, a black
    picture's above all: from three times the usual distance on it counts less, from four times on not at all.

    Args:
        nearest: [n], squared distances.
        largest: [n], logits.
        shared: what the distances are measured with.
    """
    counts = np.clip(4 - nearest / shared.spread, 0, 1) if shared.spread > 0 else 1.0
    return np.asarray(nearest * (shared.rank / shared.factor.shape[1]) - 2 * counts * largest, np.float32)


def dreams(means: ClassMeans, shared: SharedFactor, z: Floats, noise: Floats, class_ids: Ids) -> Floats:
    """Dreams in the transformed space; `shared.transform.inverse` makes them features of the trunk.

    Args:
        means: of the classes that `class_ids` count.
        shared: factor and diagonal.
        z: [n, rank] standard normal.
        noise: [n, features] standard normal; what the factor does not explain.
        class_ids: [n].

    Returns:
        [n, features] float32.
    """
    return means.means[class_ids] + z @ shared.factor + noise * np.sqrt(shared.diagonal)
