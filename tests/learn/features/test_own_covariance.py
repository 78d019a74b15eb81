"""Classes with covariances of their own: log-likelihoods, dreams that have them, a factor that loses no answer."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, SharedFactor, discriminant, dreams
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import write_arrays
from mygo_edge.bundle.own_covariance import OwnCovariances, own_dreams, quadratic, read_own, write_own
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.own_covariance import TaskScatters, answering_factor, own_covariances
from mygo_edge.learn.features.shared_covariance import SharedCovariance, shrink

FEATURES, CLASSES, EACH = 24, 4, 400


class World:
    """Gaussian classes that differ in mean and in covariance, and what a learner knows of them."""

    def __init__(self) -> None:
        draw = np.random.default_rng(5)
        common = draw.normal(size=(FEATURES, FEATURES)) / 3 + np.eye(FEATURES)
        self.mixes = [common + draw.normal(size=(FEATURES, FEATURES)) / 4 for _ in range(CLASSES)]
        self.centres = draw.normal(size=(CLASSES, FEATURES)) * 0.3
        self.vectors, self.labels = self.sample(EACH, 0)
        pooled = PooledMoments.empty(FEATURES)
        self.means = pooled.pool(self.vectors, self.labels, list("abcd"))
        self.shared = SharedCovariance(shrink(pooled, 1.0), PowerTransform(1.0, signed=True))
        parts = [self.vectors[self.labels == c] - self.means.means[c] for c in range(CLASSES)]
        self.scatters = [part.T @ part / len(part) for part in parts]

    def sample(self, each: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        draw = np.random.default_rng(seed)
        parts = [c + draw.normal(size=(each, FEATURES)) @ m for c, m in zip(self.centres, self.mixes, strict=True)]
        return np.concatenate(parts).astype(np.float32), np.repeat(np.arange(CLASSES), each)

    def own(self, directions: int) -> OwnCovariances:
        return own_covariances(self.scatters, [EACH] * CLASSES, self.shared, directions)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def covariance_of(shared: SharedFactor) -> NDArray[np.float64]:
    return shared.factor.T.astype(np.float64) @ shared.factor + np.diag(shared.diagonal.astype(np.float64))


def own_matrix(shared: SharedFactor, own: OwnCovariances, label: int) -> NDArray[np.float64]:
    """The covariance [features, features] of a class."""
    back = own.directions @ covariance_of(shared)
    return covariance_of(shared) + back.T @ (own.covariances[label] - np.eye(len(back))) @ back


def test_logits_differ_as_the_log_likelihoods_of_the_classes_gaussians_do(world: World) -> None:
    own = world.own(6)
    shared = answering_factor(world.shared, world.means, 16, own.directions)
    weight, bias = discriminant(world.means, shared, rule=None)
    logits = world.vectors[:50] @ weight.T + bias + quadratic(world.vectors[:50], world.means, own)
    expected = np.empty_like(logits)
    for label in range(CLASSES):
        matrix = own_matrix(shared, own, label)
        away = world.vectors[:50] - world.means.means[label]
        expected[:, label] = -0.5 * ((away @ np.linalg.inv(matrix)) * away).sum(1) - 0.5 * np.linalg.slogdet(matrix)[1]
    np.testing.assert_allclose(logits - logits[:, :1], expected - expected[:, :1], atol=2e-3)


def test_scatters_come_batch_after_batch_as_they_would_at_once(world: World) -> None:
    found = TaskScatters(CLASSES, FEATURES)
    order = np.random.default_rng(4).permutation(len(world.labels))
    for rows in np.array_split(order, 7):
        found.add(world.vectors[rows], world.labels[rows])
    np.testing.assert_allclose(found.scatters(), world.scatters, atol=1e-4)
    assert found.counts.tolist() == [EACH] * CLASSES


def test_own_covariances_answer_better_where_classes_differ_in_spread(world: World) -> None:
    vectors, labels = world.sample(500, 1)
    weight, bias = world.shared.discriminant(world.means)
    linear = vectors @ weight.T + bias
    both = linear + quadratic(vectors, world.means, world.own(12))
    assert (both.argmax(1) == labels).mean() > (linear.argmax(1) == labels).mean() + 0.1


def test_a_class_of_few_examples_keeps_next_to_nothing_of_its_own(world: World) -> None:
    counts = [EACH, EACH, EACH, 3]
    own = own_covariances(world.scatters, counts, world.shared, 6)
    away = np.abs(own.covariances - np.eye(6)).max((1, 2))
    assert away[3] < 0.1 * away[:3].min()


def test_dreams_have_the_covariance_of_their_class(world: World) -> None:
    own = world.own(6)
    shared = answering_factor(world.shared, world.means, 16, own.directions)
    n, draw = 60_000, np.random.default_rng(2)
    ids = np.zeros(n, np.int64)
    z = draw.standard_normal((n, shared.rank)).astype(np.float32)
    noise = draw.standard_normal((n, FEATURES)).astype(np.float32)
    dreamt = own_dreams(dreams(world.means, shared, z, noise, ids), ids, world.means, shared, own)
    expected = own_matrix(shared, own, 0)
    scale = np.sqrt(np.diag(expected))
    assert np.abs((np.cov(dreamt.T) - expected) / np.outer(scale, scale)).max() < 0.03
    np.testing.assert_allclose(dreamt.mean(0), world.means.means[0], atol=0.05)


@pytest.mark.parametrize("rank", [12, 16, 20])
def test_a_factor_of_any_rank_gives_the_classifier_of_the_full_covariance(world: World, rank: int) -> None:
    expected = world.shared.discriminant(world.means, rule=None)
    found = discriminant(world.means, answering_factor(world.shared, world.means, rank), rule=None)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
    np.testing.assert_allclose(np.diff(found[1]), np.diff(expected[1]), atol=1e-3)  # one level for all
    assert world.shared.difference(expected[0], found[0]) < 1e-6 < world.shared.factor(rank, world.means).difference


def test_a_factor_is_a_covariance_even_of_full_rank_and_of_many_classes(world: World) -> None:
    many = ClassMeans(np.random.default_rng(3).normal(size=(60, FEATURES)).astype(np.float32), np.full(60, 9))
    for means, rank in ((world.means, FEATURES), (many, 10)):
        shared = answering_factor(world.shared, means, rank)
        assert shared.factor.shape == (rank, FEATURES)
        assert (shared.diagonal > 0).all()
        assert np.isfinite(shared.factor).all()
        assert shared.spread > 0


def test_files_of_int8_keep_the_answers(world: World) -> None:
    own = world.own(6)
    shared = answering_factor(world.shared, world.means, 16, own.directions)
    data = write_own(own, shared)
    again = read_own(data, "own.npz", shared, CLASSES)
    exact, stored = (quadratic(world.vectors, world.means, part) for part in (own, again))
    assert (exact - stored).std() < 0.03 * exact.std()
    assert write_own(own, shared) == data
    assert len(data) < 6 * 16 + CLASSES * 21 + 1500


def test_a_variance_far_above_the_others_leaves_them_levels_of_int8(world: World) -> None:
    draw = np.random.default_rng(8)
    own = world.own(12)
    shared = answering_factor(world.shared, world.means, 16, own.directions)
    noise = 0.02 * draw.standard_normal((CLASSES, 12, 12))
    covariances = np.eye(12) + noise + noise.swapaxes(1, 2)
    covariances[:, 0, 0] += 4
    own = OwnCovariances(own.directions, covariances.astype(np.float32))
    again = read_own(write_own(own, shared), "own.npz", shared, CLASSES)
    basis = again.directions @ np.linalg.pinv(own.directions)
    lost = basis.T @ again.covariances @ basis - own.covariances
    assert lost[:, 1:, 1:].std() < 0.006


@pytest.mark.parametrize("damage", ["classes", "rank", "covariance", "nan", "keys", "type"])
def test_a_damaged_file_is_refused_by_name(world: World, damage: str) -> None:
    own = world.own(6)
    shared = answering_factor(world.shared, world.means, 16, own.directions)
    arrays = {
        "directions": np.ones((6, 16), np.int8),
        "directions_scale": np.ones(6, np.float32),
        "covariances": np.zeros((CLASSES, 21), np.int8),
        "covariances_scale": np.ones(CLASSES, np.float32),
    }
    assert read_own(write_arrays(arrays), "own.npz", shared, CLASSES).covariances.shape == (CLASSES, 6, 6)
    if damage == "rank":
        arrays["directions"] = np.ones((6, 15), np.int8)
    elif damage == "covariance":
        arrays["covariances"] = np.full((CLASSES, 21), -100, np.int8)
    elif damage == "nan":
        arrays["covariances_scale"][1] = np.nan
    elif damage == "keys":
        arrays["more"] = np.zeros(1)
    elif damage == "type":
        arrays["directions"] = arrays["directions"].astype(np.float32)
    with pytest.raises(BundleError, match=r"own\.npz holds no covariances"):
        read_own(write_arrays(arrays), "own.npz", shared, CLASSES + (damage == "classes"))
