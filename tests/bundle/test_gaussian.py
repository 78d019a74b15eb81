"""The Gaussian memory in feature space: its classifier, distances, dreams and files."""

import io
from typing import get_args

import numpy as np
import pytest

from mygo_edge.bundle.denoising import denoising, doubt
from mygo_edge.bundle.gaussian import (
    ClassMeans,
    PowerTransform,
    SharedFactor,
    discriminant,
    dreams,
    fisher,
    join,
    mahalanobis,
    novelty,
)
from mygo_edge.bundle.gaussian_files import read_means, read_shared, write_means, write_shared
from mygo_edge.bundle.manifest import BundleError, Rule
from mygo_edge.bundle.npz import write_arrays

FEATURES, RANK, CLASSES = 40, 6, 7


@pytest.fixture
def shared() -> SharedFactor:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(RANK, FEATURES)).astype(np.float32)
    diagonal = rng.uniform(0.1, 2, FEATURES).astype(np.float32)
    return SharedFactor(factor, diagonal, PowerTransform(), 0.1, float(FEATURES))


@pytest.fixture
def means() -> ClassMeans:
    rng = np.random.default_rng(1)
    return ClassMeans(rng.normal(size=(CLASSES, FEATURES)).astype(np.float32) + 3, np.full(CLASSES, 50))


def covariance(shared: SharedFactor) -> np.ndarray:
    factor = shared.factor.astype(np.float64)
    return factor.T @ factor + np.diag(shared.diagonal.astype(np.float64))


def test_distances_are_those_of_the_full_covariance(means: ClassMeans, shared: SharedFactor) -> None:
    vectors = np.random.default_rng(2).normal(size=(5, FEATURES)) + 3
    away = vectors[:, None] - means.means
    expected = np.einsum("ncf,fg,ncg->nc", away, np.linalg.inv(covariance(shared)), away)
    assert np.allclose(mahalanobis(vectors, means, shared), expected, rtol=1e-6)


def test_logits_differ_as_the_log_likelihoods_do(means: ClassMeans, shared: SharedFactor) -> None:
    vectors = np.random.default_rng(3).normal(size=(9, FEATURES)) + 3
    weight, bias = discriminant(means, shared, rule=None)
    logits = vectors @ weight.T + bias
    expected = -0.5 * mahalanobis(vectors, means, shared)
    assert weight.shape == (CLASSES, FEATURES)
    assert np.allclose(logits - logits[:, :1], expected - expected[:, :1], atol=1e-3)


def test_heads_computed_apart_around_one_centre_compare(means: ClassMeans, shared: SharedFactor) -> None:
    centre = means.means[0] * 0.9
    weight, bias = discriminant(means, shared, centre, rule=None)
    first, second = (ClassMeans(means.means[part], means.counts[part]) for part in (slice(3), slice(3, None)))
    parts = [discriminant(part, shared, centre, rule=None) for part in (first, second)]
    # How a product rounds may depend on how many rows it has.
    assert np.allclose(weight, np.concatenate([part[0] for part in parts]), rtol=1e-6, atol=1e-9)
    assert np.allclose(bias, np.concatenate([part[1] for part in parts]), rtol=1e-6, atol=1e-9)
    assert np.array_equal(join([first, second]).means, means.means)


def test_classes_of_few_images_are_answered_beside_classes_of_many(shared: SharedFactor) -> None:
    rng = np.random.default_rng(4)
    root = np.linalg.cholesky(covariance(shared))
    shares, right = [], []
    for _ in range(40):
        truth = rng.normal(size=(6, FEATURES)) @ root.T * 0.5
        counts = np.array([3, 3, *[10_000] * 4])
        noise = rng.normal(size=truth.shape) @ root.T / np.sqrt(counts)[:, None]
        weight, bias = discriminant(ClassMeans((truth + noise).astype(np.float32), counts), shared)
        tests = truth[:, None] + rng.normal(size=(6, 100, FEATURES)) @ root.T
        answers = (tests @ weight.T + bias).argmax(2)
        shares.append((answers < 2).mean())
        right.append((answers == np.arange(6)[:, None])[:2].mean())
    assert 0.2 < np.mean(shares) < 0.45  # a third would be even
    assert np.mean(right) > 0.6


def test_many_classes_of_few_images_are_told_apart_better_once_denoised(shared: SharedFactor) -> None:
    rng = np.random.default_rng(8)
    root = np.linalg.cholesky(covariance(shared))
    gains = []
    for _ in range(10):
        truth = rng.normal(size=(60, 4)) @ rng.normal(size=(4, FEATURES)) @ root.T * 0.5  # four directions tell them
        counts = np.full(60, 4)
        noisy = truth + rng.normal(size=truth.shape) @ root.T / 2
        tests = truth[:, None] + rng.normal(size=(60, 40, FEATURES)) @ root.T
        scores = []
        for rule in (None, *get_args(Rule)):
            weight, bias = discriminant(ClassMeans(noisy.astype(np.float32), counts), shared, rule=rule)
            scores.append(((tests @ weight.T + bias).argmax(2) == np.arange(60)[:, None]).mean())
        gains.append(np.subtract(scores[1:], scores[0]))
    assert (np.mean(gains, axis=0) > 0.02).all()


def test_directions_that_are_all_noise_nearly_vanish_and_long_ones_stay() -> None:
    counts, everywhere, noise = np.full(3, 40), np.full(3, True), 2.0
    few = 10 / (10 + 40)
    for rule in get_args(Rule):
        short, middle, long = (
            denoising(np.diag([length / 40] * 3), counts, noise, everywhere, rule)[0][0, 0]
            for length in (1e-6, 4 * noise, 1e4 * noise)
        )
        weight = few if rule == "ridge" else 0.0
        assert short == pytest.approx((1 - weight) * 0.2, abs=1e-4)
        assert middle == pytest.approx((1 - weight) * 3 / 4 + weight * 4 / 9, abs=1e-4)
        assert 1 - long == pytest.approx((doubt(counts) if weight else 1.0) / 1e4, rel=1e-2)


def test_the_more_images_a_class_the_less_the_rules_differ() -> None:
    apart = []
    for images in (2, 20, 2000):
        inner, counts = np.diag(np.array([3.0, 9.0, 30.0]) / images), np.full(3, images)
        mixes = [denoising(inner, counts, 2.0, np.full(3, True), rule)[0] for rule in get_args(Rule)]
        apart.append(float(np.abs(mixes[0] - mixes[1]).max()))
    assert apart[0] > apart[1] > apart[2]
    assert apart[2] < 0.01


def test_denoising_many_images_changes_nothing(means: ClassMeans, shared: SharedFactor) -> None:
    many = ClassMeans(means.means, np.full(CLASSES, 10**9))
    for got, expected in zip(discriminant(many, shared), discriminant(many, shared, rule=None), strict=True):
        assert np.allclose(got, expected, atol=1e-4)


def test_dreams_have_the_covariance_and_the_means(means: ClassMeans, shared: SharedFactor) -> None:
    rng = np.random.default_rng(5)
    n = 200_000
    z, noise = (rng.standard_normal((n, width), np.float32) for width in (RANK, FEATURES))
    dreamt = dreams(means, shared, z, noise, np.full(n, 2))
    assert np.abs(dreamt.mean(0) - means.means[2]).max() < 0.05
    assert np.abs(np.cov(dreamt.T) - covariance(shared)).max() < 0.25


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 0.7])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_the_transform_can_be_undone(power: float, signed: bool, normalised: bool) -> None:
    features = np.random.default_rng(6).normal(size=(8, FEATURES)).astype(np.float32) * 5
    transform = PowerTransform(power, signed, normalised)
    features = features if signed else np.abs(features)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True) if normalised else features
    assert np.allclose(transform.inverse(transform(features)), expected, rtol=1e-4, atol=1e-5)


def test_features_of_zeros_stay_finite() -> None:
    assert np.isfinite(PowerTransform(normalised=True)(np.zeros((2, 3)))).all()


@pytest.mark.parametrize(("precision", "error"), [("fp32", 0), ("fp16", 1e-3), ("int8", 1 / 254)])
def test_files_give_back_what_was_written(
    means: ClassMeans, shared: SharedFactor, precision: str, error: float
) -> None:
    factor = read_shared(write_shared(shared, precision), "factor.npz")
    task = read_means(write_means(means, precision), "means-a.npz", FEATURES, CLASSES)
    assert (factor.transform, factor.shrinkage, factor.spread) == (shared.transform, 0.1, FEATURES)
    assert np.array_equal(factor.diagonal, shared.diagonal)
    assert np.array_equal(task.counts, means.counts)
    for got, expected in ((factor.factor, shared.factor), (task.means, means.means)):
        assert got.dtype == np.float32
        assert (np.abs(got - expected) <= error * np.abs(expected).max(1, keepdims=True) * 1.001).all()


def test_equal_memories_have_equal_bytes(means: ClassMeans, shared: SharedFactor) -> None:
    assert write_shared(shared, "int8") == write_shared(shared, "int8")
    assert write_means(means) == write_means(means)


def _shared_arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    good = {
        "factor": np.ones((2, 3), np.float32),
        "diagonal": np.ones(3, np.float32),
        "numbers": np.array([0.5, 0, 0, 0.1, 3]),
    }
    return good | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"factor": np.ones((2, 4), np.float32)},
        {"factor": np.ones(3, np.float32)},
        {"factor": np.ones((0, 3), np.float32)},
        {"factor": np.ones((2, 3), np.int8)},
        {"factor": np.full((2, 3), np.nan, np.float32)},
        {"factor": np.array([["x"] * 3], object)},
        {"diagonal": np.zeros(3, np.float32)},
        {"diagonal": np.full(3, np.inf, np.float32)},
        {"diagonal": np.ones(3)},
        {"numbers": np.array([0.0, 0, 0, 0.1, 3])},
        {"numbers": np.array([0.5, 0.5, 0, 0.1, 3])},
        {"numbers": np.array([0.5, 0, 0, 2, 3])},
        {"numbers": np.array([0.5, 0, 0, 0.1, np.nan])},
        {"scale": np.ones(2, np.float32)},
        {"more": np.ones(2, np.float32)},
    ],
    ids=lambda changes: "-".join(f"{key}{value.shape}{value.dtype}" for key, value in changes.items()),
)
def test_a_damaged_factor_is_refused_by_name(changes: dict[str, np.ndarray]) -> None:
    data = io.BytesIO()
    np.savez(data, **_shared_arrays(**changes))
    with pytest.raises(BundleError, match=r"^factor\.npz is no shared factor"):
        read_shared(data.getvalue(), "factor.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"means": np.ones((2, 4), np.float16), "counts": np.ones(2, np.int64)},
        {"means": np.ones((3, 3), np.float16), "counts": np.ones(3, np.int64)},
        {"means": np.ones((2, 3), np.float16), "counts": np.zeros(2, np.int64)},
        {"means": np.ones((2, 3), np.int8), "counts": np.ones(2, np.int64), "scale": np.full(2, np.inf, np.float32)},
        {"means": np.ones((2, 3), np.int8), "counts": np.ones(2, np.int64), "scale": np.ones(3, np.float32)},
        {"means": np.ones((2, 3), np.float64), "counts": np.ones(2, np.int64)},
    ],
)
def test_damaged_means_are_refused_by_name(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(BundleError, match=r"^means-a\.npz holds no class means"):
        read_means(write_arrays(arrays), "means-a.npz", 3, 2)


def test_bytes_that_are_no_archive_and_compressed_ones_are_refused(shared: SharedFactor) -> None:
    whole = write_shared(shared, "int8")
    packed = io.BytesIO()
    np.savez_compressed(packed, **_shared_arrays())
    for data in (b"", b"PK\x03\x04", whole[: len(whole) // 2], packed.getvalue()):
        with pytest.raises(BundleError, match="no shared factor"):
            read_shared(data, "factor.npz")


def test_numbers_too_large_to_compute_with_are_refused(means: ClassMeans, shared: SharedFactor) -> None:
    tiny = SharedFactor(shared.factor, np.full(FEATURES, 1e-40, np.float32), shared.transform, 0.1, 1.0)
    with pytest.raises(BundleError, match=r"finite|covariance"):
        discriminant(means, tiny)


def test_two_noisy_classes_still_get_an_answer() -> None:
    """However little of their distance noise leaves, it says which is nearer."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(2, 16)).astype(np.float32)
    for counts in ([2, 2], [3, 400]):
        weight, bias = fisher(ClassMeans(means, np.array(counts)), lambda away: away.astype(np.float64), spread=400.0)
        logits = means @ weight.T + bias
        assert np.linalg.norm(weight[0] - weight[1]) > 0
        assert logits[0, 0] - logits[0, 1] > logits[1, 0] - logits[1, 1]


def test_a_vector_far_from_all_classes_is_novel_however_large_a_logit_is(shared: SharedFactor) -> None:
    usual, far = np.full(1, shared.spread), np.full(1, 5 * shared.spread)
    assert novelty(usual, np.full(1, 1e6), shared) < 0  # near a class, its logit counts
    assert (
        novelty(far, np.full(1, 1e6), shared) == novelty(far, np.zeros(1), shared) > novelty(usual, np.zeros(1), shared)
    )
