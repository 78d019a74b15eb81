"""Images are judged as if a memory had never seen them."""

import numpy as np

from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, SharedFactor, join, mahalanobis, novelty
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.novelty import QUANTILES, known_novelty
from mygo_edge.learn.features.sent_rows import SentRows
from mygo_edge.learn.features.shared_covariance import SharedCovariance, shrink

FEATURES, CLASSES, IMAGES = 12, 3, 8


def test_judging_in_closed_form_is_judging_by_a_memory_without_the_image() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    vectors = (rng.normal(0, 1, (CLASSES, FEATURES))[labels] + rng.normal(size=(len(labels), FEATURES))).astype("f4")
    pooled = PooledMoments.empty(FEATURES)
    means = pooled.pool(vectors, labels, ["a", "b", "c"])
    covariance = SharedCovariance(shrink(pooled, 0.5), PowerTransform())
    sent, shared = SentRows.of(covariance, [means]), covariance.factor(4, means).shared
    amount, target = covariance.shrunk.shrinkage, covariance.shrunk.target
    got = known_novelty(sent, shared, [means], vectors, labels, (1 - amount) / pooled.freedom)

    def logits(vector: np.ndarray, matrix: np.ndarray, centres: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(matrix)
        away = vector - centres
        whole = (vector - sent.centre) @ inverse @ (vector - sent.centre)
        return 0.5 * (whole - np.einsum("cf,fg,cg->c", away, inverse, away))

    weight, bias = sent.discriminant([means])
    expected, nearest = [], []
    for index, (vector, label) in enumerate(zip(vectors.astype(np.float64), labels, strict=True)):
        rest = np.arange(len(labels)) != index
        without = PooledMoments.empty(FEATURES)
        others = without.pool(vectors[rest], labels[rest], ["a", "b", "c"])
        # The same divisor and target, so that only the image is missing.
        matrix = (1 - amount) * without.scatter / pooled.freedom + np.diag(amount * target)
        change = logits(vector, matrix, others.means) - logits(vector, covariance.shrunk.matrix, means.means)
        expected.append(vector @ weight.T + bias + change)
        distances = mahalanobis(vectors[index : index + 1], means, shared)[0]
        distances[label] = mahalanobis(vectors[index : index + 1], others, shared)[0, label]
        nearest.append(distances.min())
    assert_novelty(got, np.array(nearest), np.array(expected), shared)


def assert_novelty(got: np.ndarray, nearest: np.ndarray, logits: np.ndarray, shared: SharedFactor) -> None:
    found = novelty(nearest, logits.max(1), shared)
    np.testing.assert_allclose(got, np.quantile(found, np.linspace(0, 1, QUANTILES)), rtol=2e-3, atol=5e-3)


def test_a_memory_that_has_not_seen_the_images_is_as_it_is_but_for_their_means() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    before, vectors = (rng.normal(size=(len(labels), FEATURES)).astype("f4") for _ in range(2))
    pooled = PooledMoments.empty(FEATURES)
    first = pooled.pool(before, labels, ["a", "b", "c"])
    covariance = SharedCovariance(shrink(pooled, 0.5), PowerTransform())
    sent, shared = SentRows.of(covariance, [first]), covariance.factor(4, first).shared
    last = pooled.pool(vectors, labels, ["d", "e", "f"])
    got = known_novelty(sent, shared, [first, last], vectors, labels)
    weight, bias = sent.discriminant([first, last])
    logits, nearest = vectors @ weight.T + bias, mahalanobis(vectors, join([first, last]), shared)
    inverse = np.linalg.inv(covariance.shrunk.matrix)
    for index, label in enumerate(labels):
        own = (labels == label) & (np.arange(len(labels)) != index)
        mean = vectors[own].mean(0)
        with_it, without = vectors[index] - last.means[label], vectors[index] - mean
        column = CLASSES + label
        logits[index, column] += 0.5 * (with_it @ inverse @ with_it - without @ inverse @ without)
        alone = ClassMeans(mean[None], np.array([IMAGES - 1]))
        nearest[index, column] = mahalanobis(vectors[index : index + 1], alone, shared)[0, 0]
    assert_novelty(got, nearest.min(1), logits, shared)
