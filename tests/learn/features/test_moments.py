"""Pooled moments, the covariance made of them, and how its shrinkage is chosen."""

import numpy as np
import pytest

from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, discriminant, join
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.features import moments
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.features.strength import STRENGTHS, LeftOut, left_out

FEATURES = 24


def task_data(seed: int, per_class: int = 30, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around class means, with a covariance that all seeds share."""
    root = np.random.default_rng(99).normal(size=(FEATURES, FEATURES)) * 0.5
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    vectors = 5 + rng.normal(size=(classes, FEATURES))[labels] + rng.normal(size=(len(labels), FEATURES)) @ root
    return vectors.astype(np.float32), labels


def pool(*tasks: tuple[np.ndarray, np.ndarray]) -> tuple[PooledMoments, list[ClassMeans]]:
    pooled = PooledMoments.empty(FEATURES)
    return pooled, [pooled.pool(*task, [f"class {index}" for index in range(task[1].max() + 1)]) for task in tasks]


def test_moments_are_those_of_all_images_at_once() -> None:
    tasks = [task_data(0), task_data(1, per_class=7, classes=5)]
    pooled, means = pool(*tasks)
    scatter = np.zeros((FEATURES, FEATURES))
    for (vectors, labels), got in zip(tasks, means, strict=True):
        wide = vectors.astype(np.float64)
        expected = np.stack([wide[labels == label].mean(0) for label in range(labels.max() + 1)])
        assert np.allclose(got.means, expected, atol=1e-5)
        assert np.array_equal(got.counts, np.bincount(labels))
        scatter += (wide - expected[labels]).T @ (wide - expected[labels])
    assert np.allclose(pooled.scatter, scatter, rtol=1e-4, atol=1e-2)
    assert (pooled.freedom, pooled.tasks) == (90 + 35 - 8, 2)


def test_tasks_of_many_parts_are_summed_up_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, whole_means = pool(task_data(2))
    monkeypatch.setattr(moments, "_ROWS", 7)
    parts, means = pool(task_data(2))
    assert np.allclose(whole.scatter, parts.scatter, rtol=1e-4, atol=1e-2)
    assert np.allclose(whole_means[0].means, means[0].means, atol=1e-5)


def test_features_far_from_zero_keep_their_scatter() -> None:
    vectors, labels = task_data(3)
    near, far = (pool((vectors + shift, labels))[0].scatter for shift in (0, 1000))
    assert np.allclose(near, far, rtol=0.02, atol=0.5)


ROUNDED = np.random.default_rng(0).uniform(-1e-4, 1e-4, (4, FEATURES)).astype(np.float32)  # as a trunk may round


@pytest.mark.parametrize(
    ("vectors", "labels", "reason"),
    [
        (np.ones((3, FEATURES), np.float32), np.array([0, 0, 1]), "class 'class 1' has 1 image"),
        (np.ones((4, FEATURES), np.float32), np.array([0, 0, 1, 1]), "same features"),
        (np.ones((4, FEATURES), np.float32) + ROUNDED, np.array([0, 0, 1, 1]), "same features"),
        (np.full((4, FEATURES), np.nan, np.float32), np.array([0, 0, 1, 1]), "NaN"),
    ],
)
def test_images_that_say_too_little_are_refused(vectors: np.ndarray, labels: np.ndarray, reason: str) -> None:
    with pytest.raises(MygoEdgeError, match=reason):
        pool((vectors, labels))


def test_a_class_without_images_is_refused_by_name() -> None:
    with pytest.raises(MygoEdgeError, match="'dog' has 0"):
        PooledMoments.empty(FEATURES).pool(*task_data(0, classes=1), ["cat", "dog"])


def test_no_image_leaves_a_covariance_nor_an_inverse() -> None:
    with pytest.raises(ValueError, match="no task"):
        shrink(PooledMoments.empty(FEATURES), 1.0)


@pytest.mark.parametrize("per_class", [2, 40])
def test_the_inverse_is_that_of_the_shrunk_covariance_even_of_two_images_a_class(per_class: int) -> None:
    vectors, labels = task_data(4, per_class)
    vectors[:, 3] = 1  # a feature that never varies
    pooled, _ = pool((vectors, labels))
    shared = SharedCovariance(shrink(pooled, 1.0), PowerTransform())
    probe = np.random.default_rng(0).normal(size=(5, FEATURES))
    assert np.allclose(shared.times(probe) @ shared.shrunk.matrix, probe, atol=1e-3)
    expected = np.trace(np.linalg.solve(shared.shrunk.matrix, shared.shrunk.covariance))
    assert shared.spread == pytest.approx(expected, rel=1e-3)


def answers(vectors: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (vectors @ weight.T + bias).argmax(1)


def test_a_factor_answers_as_the_covariance_does_and_says_how_nearly() -> None:
    tasks = [task_data(5), task_data(6)]
    pooled, means = pool(*tasks)
    shared = SharedCovariance(shrink(pooled, 0.5), PowerTransform())
    narrow, wide = (shared.factor(rank, join(means)) for rank in (2, FEATURES - 1))
    assert 0 <= wide.difference < 0.3 < narrow.difference < 1
    vectors = np.concatenate([vectors for vectors, _ in tasks])
    full, cut = shared.discriminant(join(means)), discriminant(join(means), wide.shared)
    assert (answers(vectors, *full) == answers(vectors, *cut)).mean() > 0.9
    product = wide.shared.factor.T @ wide.shared.factor + np.diag(wide.shared.diagonal)
    assert np.allclose(product.diagonal(), shared.shrunk.matrix.diagonal(), rtol=0.3)


def test_the_difference_of_classifiers_is_that_of_their_logits() -> None:
    pooled, means = pool(task_data(5, per_class=400))
    shared = SharedCovariance(shrink(pooled, 0.01), PowerTransform())
    one, _ = shared.discriminant(means[0])
    other = one + np.random.default_rng(0).normal(size=one.shape).astype(np.float32) * np.abs(one).mean()
    noise = np.random.default_rng(1).normal(size=(50_000, FEATURES)) @ np.linalg.cholesky(shared.shrunk.matrix).T
    logits = [noise @ (weight - weight.mean(0)).T for weight in (one, other)]
    explained = (logits[0] * logits[1]).sum() ** 2 / ((logits[0] ** 2).sum() * (logits[1] ** 2).sum())
    assert shared.difference(one, other) == pytest.approx(1 - explained, rel=0.05)
    assert shared.difference(one, one * 3 + 1) == pytest.approx(0, abs=1e-4)


def test_the_factors_spread_is_the_mean_squared_distance_of_features() -> None:
    vectors, labels = task_data(7, per_class=300)
    pooled, means = pool((vectors, labels))
    factor = SharedCovariance(shrink(pooled, 1.0), PowerTransform()).factor(6, join(means)).shared
    inverse = np.linalg.inv(factor.factor.T @ factor.factor + np.diag(factor.diagonal))
    away = vectors - means[0].means[labels]
    assert factor.spread == pytest.approx(np.einsum("nf,fg,ng->n", away, inverse, away).mean(), rel=0.02)


HALF = STRENGTHS.index(0.5)


def test_leaving_an_image_out_in_closed_form_is_leaving_it_out() -> None:
    first, last = task_data(8, per_class=6), task_data(9, per_class=4, classes=4)
    pooled, means = pool(first, last)
    vectors, labels = last
    got = left_out(pooled, join(means), slice(3, 7), vectors, labels)
    expected = []
    amount = shrink(pooled, 0.5).shrinkage
    target = shrink(pooled, 0.5).target
    for index in range(len(vectors)):
        rest = np.arange(len(vectors)) != index
        others, parts = pool(first, (vectors[rest], labels[rest]))
        # The same divisor and target, so that only the image is missing.
        matrix = (1 - amount) * others.scatter / pooled.freedom + np.diag(amount * target)
        away = vectors[index] - join(parts).means
        distances = np.einsum("cf,fg,cg->c", away, np.linalg.inv(matrix), away)
        distances[3 + labels[index]] *= (1 + 1 / 4) / (1 + 1 / 3)  # as far as an image is from a mean of four
        expected.append([*distances[3:], *distances[:3]])  # the task's own first
    order = np.random.default_rng(0).permutation(len(vectors))
    np.testing.assert_allclose(got.distances(HALF), np.array(expected)[order], rtol=2e-3, atol=2e-3)
    known = got.distances(HALF)[:, :4].argmin(1) == labels[order]
    assert got.told_apart(HALF, 4) == pytest.approx(known.mean())


@pytest.mark.parametrize("best", range(len(STRENGTHS)))
@pytest.mark.parametrize("start", range(len(STRENGTHS)))
def test_strengths_are_tried_to_either_side_as_long_as_they_get_better(best: int, start: int) -> None:
    own = np.arange(200) % 2
    tried = []

    def distances_at(strength: int) -> np.ndarray:  # with the more of them wrong, the farther from the best
        tried.append(strength)
        wrong = np.arange(200) < 20 * (1 + abs(strength - best))
        return np.where((np.arange(2) == own[:, None]) ^ wrong[:, None], 0.0, 40.0)

    briers = LeftOut(distances_at, own, np.array([100, 100])).briers(2, start)
    assert briers.argmin() == best
    assert len(tried) == len(set(tried)) <= abs(best - start) + 3
    assert (np.diff(briers[: best + 1]) <= 0).all()
    assert (np.diff(briers[best:]) >= 0).all()


def found() -> LeftOut:
    """As `left_out` finds, of three images that are far nearer to their class than to the other."""
    own = np.array([0, 1, 1])
    distances = np.where(np.arange(2) == own[:, None], 0.0, 40.0)
    return LeftOut(lambda _: distances, own, np.array([20, 40]))


def test_the_temperature_makes_a_softmax_as_sure_as_it_is_right() -> None:
    rng = np.random.default_rng(0)
    own = rng.integers(0, 4, 4000)
    logits = rng.normal(0, 2, (4000, 4)) + 2 * np.eye(4)[own]
    # Drawn with a temperature of 1, then made seven times as sure.
    drawn = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    overconfident = LeftOut(lambda _: -2 * 7 * logits, drawn, np.full(4, 1000))
    assert overconfident.temperature(0) == pytest.approx(7, rel=0.1)


def test_a_few_right_answers_do_not_make_a_memory_sure() -> None:
    assert found().temperature(0) > 3
