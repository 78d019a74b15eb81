"""Images are judged as if a memory had never seen them."""

import numpy as np

from mygo_edge.bundle.gaussian import PowerTransform, mahalanobis, novelty
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.novelty import QUANTILES, judged
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
    got = judged(sent, shared, [means], vectors, labels, (1 - amount) / pooled.freedom)

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
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_allclose(got.logits, np.array(expected)[order], rtol=2e-3, atol=2e-3)
    assert got.own.tolist() == labels[order].tolist()
    found = novelty(np.array(nearest), np.max(expected, axis=1), shared)
    np.testing.assert_allclose(got.novelty, np.quantile(found, np.linspace(0, 1, QUANTILES)), rtol=2e-3, atol=5e-3)


def test_a_memory_that_has_not_seen_the_images_is_as_it_is_but_for_their_means() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    before, vectors = (rng.normal(size=(len(labels), FEATURES)).astype("f4") for _ in range(2))
    pooled = PooledMoments.empty(FEATURES)
    first = pooled.pool(before, labels, ["a", "b", "c"])
    covariance = SharedCovariance(shrink(pooled, 0.5), PowerTransform())
    sent, shared = SentRows.of(covariance, [first]), covariance.factor(4, first).shared
    last = pooled.pool(vectors, labels, ["d", "e", "f"])
    got = judged(sent, shared, [first, last], vectors, labels)
    weight, bias = sent.discriminant([first, last])
    order = np.random.default_rng(0).permutation(len(labels))
    whole = (vectors @ weight.T + bias)[order]
    others = np.arange(2 * CLASSES) != got.own[:, None]
    np.testing.assert_allclose(got.logits[others], whole[others], rtol=1e-5)
    assert (got.logits[~others] < whole[~others]).all()
    assert got.old == CLASSES
    assert got.counts.tolist() == [IMAGES] * 2 * CLASSES
