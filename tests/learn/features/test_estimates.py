"""A covariance of few images, known by its root, says what the matrix says."""

import numpy as np
import pytest

from mygo_edge.bundle.gaussian import PowerTransform, join
from mygo_edge.learn.features.estimates import Root, Whole
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.features.strength import STRENGTHS, left_out

FEATURES = 160


def tasks(count: int, per_class: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    root = rng.normal(0, 1, (FEATURES, FEATURES)) / np.arange(1, FEATURES + 1)[:, None]
    labels = np.repeat(np.arange(3), per_class)
    return [
        ((5 + rng.normal(0, 0.1, (3, FEATURES))[labels] + rng.normal(0, 1, (len(labels), FEATURES)) @ root), labels)
        for _ in range(count)
    ]


def pooled(most: int, count: int = 4, per_class: int = 4) -> tuple[PooledMoments, list]:
    pool = PooledMoments.empty(FEATURES, most)
    return pool, [
        pool.pool(vectors.astype(np.float32), labels, list("abc")) for vectors, labels in tasks(count, per_class)
    ]


@pytest.mark.parametrize("most", [12, 30, 60])
def test_a_root_pools_what_the_matrix_does_and_grows_into_it(most: int) -> None:
    small, _ = pooled(most)
    whole, _ = pooled(0)
    np.testing.assert_allclose(small.scatter, whole.scatter, atol=1e-4 * np.abs(whole.scatter).max())
    assert (small.whole is None) == (most == 60)
    assert isinstance(small.covariance(), Root if most == 60 else Whole)
    assert small.freedom == whole.freedom


def test_a_root_holds_no_image_and_no_task_apart() -> None:
    """It is upper trapezoidal, which the scatter determines up to signs."""
    pool, _ = pooled(60)
    assert pool.root is not None
    assert np.array_equal(np.triu(pool.root), pool.root)


def test_the_inverse_of_few_images_is_that_of_the_matrix() -> None:
    (small, means), (whole, _) = pooled(60), pooled(0)
    one, other = (SharedCovariance(shrink(pool, 0.2), PowerTransform()) for pool in (small, whole))
    probe = np.random.default_rng(1).normal(size=(5, FEATURES))
    np.testing.assert_allclose(one.times(probe), other.times(probe), rtol=1e-3, atol=1e-3)
    for covariance in (one, other):
        np.testing.assert_allclose(covariance.norms(probe), covariance.products(probe).diagonal(), rtol=1e-5)
    apart = np.concatenate([other.times(row[None]) for row in probe])  # one by one, as those of a small task
    np.testing.assert_allclose(apart, other.times(probe), rtol=1e-3, atol=1e-3)
    expected = np.trace(np.linalg.solve(other.shrunk.matrix, other.shrunk.covariance))
    assert one.spread == pytest.approx(expected, rel=1e-4)
    weights = (shared.discriminant(join(means), rule=None)[0] for shared in (one, other))
    np.testing.assert_allclose(*weights, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rank", [8, 64])
def test_the_largest_directions_are_those_of_the_matrix_as_many_as_there_are(rank: int) -> None:
    """There are 36: as many as images less classes."""
    root = pooled(60)[0].covariance()
    values, vectors = root.largest(rank)
    rank = min(rank, 36)
    expected = np.linalg.eigvalsh(root.matrix.astype(np.float64))[-rank:]
    np.testing.assert_allclose(values, expected, atol=1e-4 * expected[-1])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(rank), atol=1e-4)
    np.testing.assert_allclose(root.matrix @ vectors, vectors * values, atol=1e-3 * expected[-1])


def test_the_largest_directions_are_found_from_those_of_an_earlier_estimate() -> None:
    """Of half of the images; one pass from there holds as much of the variance as two from anywhere."""
    half, all_of_them = pooled(0, 3)[0].covariance(), pooled(0, 6)[0].covariance()
    assert isinstance(all_of_them, Whole)
    _, before = half.largest(8)
    _, vectors = all_of_them.largest(8, before.T)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(8), atol=1e-4)
    most = np.linalg.eigvalsh(all_of_them.matrix.astype(np.float64))[-8:].sum()
    held, stale = (np.trace(some.T @ all_of_them.matrix @ some) for some in (vectors, before))
    assert stale < 0.99 * most < 0.999 * most < held


def test_a_factor_of_few_images_has_rows_of_nothing_and_each_variance() -> None:
    pool, means = pooled(60)
    covariance = SharedCovariance(shrink(pool, 0.2), PowerTransform())
    shared = covariance.factor(64, join(means)).shared
    assert shared.factor.shape == (64, FEATURES)
    assert shared.factor[:36].any(1).all()
    assert not shared.factor[36:].any()
    variances = (shared.factor**2).sum(0) + shared.diagonal
    np.testing.assert_allclose(variances, covariance.shrunk.matrix.diagonal(), rtol=0.3)


def test_leaving_out_few_images_costs_few_dimensions_and_says_the_same() -> None:
    vectors, labels = tasks(2, 3)[-1]
    found = [
        left_out(pool, join(means), slice(3, 6), vectors.astype(np.float32), labels)
        for pool, means in (pooled(60, 2, 3), pooled(0, 2, 3))
    ]
    for strength in range(len(STRENGTHS)):
        np.testing.assert_allclose(found[0].distances(strength), found[1].distances(strength), rtol=2e-3)
    np.testing.assert_allclose(found[0].briers(3), found[1].briers(3), rtol=2e-3)
