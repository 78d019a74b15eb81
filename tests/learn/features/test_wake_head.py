"""A wake's head: the discriminant of the task's own covariance, as the formula has it, and only where it helps."""

import numpy as np
import pytest

from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform
from mygo_edge.bundle.wake_head import WakeHead
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.learn.features.leaving_out import Products, distances
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.features.wake_head import sums_alone, wake_head, wants_head

FEATURES, CLASSES = 60, 3
PLAIN = PowerTransform(1.0, signed=True)


def tasks(images: int, *, alike: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of two tasks with as many images a class, and their labels. Where the covariances are not alike, what is
    noise in one task separates the classes of the other; where they are, each is the identity.
    """
    rng = np.random.default_rng(1)
    spread = np.where(np.arange(FEATURES) < FEATURES // 2, 3.0, 0.5)
    labels = np.arange(CLASSES * images) % CLASSES
    means = rng.normal(0, 0.2, (2, CLASSES, FEATURES))
    noise = rng.normal(size=(2, len(labels), FEATURES))
    noise *= 1 if alike else np.stack([spread, spread[::-1]])[:, None]
    return *(5 + means[:, labels] + noise).astype(np.float32), labels


def by_formula(first: np.ndarray, second: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Logits of the second task's vectors, up to a scale and what is the same for all classes."""

    def scatter(vectors: np.ndarray) -> np.ndarray:
        means = np.stack([vectors[labels == label].mean(0) for label in range(CLASSES)])
        return (vectors - means[labels]).T @ (vectors - means[labels])

    pooled = PooledMoments.empty(FEATURES)
    for vectors in (first, second):
        pooled.pool(vectors, labels, ["a", "b", "c"])
    shared = shrink(pooled, strength).matrix
    freedom = len(labels) - CLASSES
    own = (scatter(second.astype(np.float64)) + FEATURES * shared) / (freedom + FEATURES)
    means = np.stack([second[labels == label].mean(0, dtype=np.float64) for label in range(CLASSES)])
    middle = means.mean(0)
    weight = np.linalg.solve(own, (means - middle).T)
    return (second - middle) @ weight - 0.5 * ((means - middle) * weight.T).sum(1)


@pytest.mark.parametrize("images", [34, 60])  # a class: 102 images are few where features are 240, and many here
def test_the_head_is_the_discriminant_of_the_tasks_own_covariance(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, labels = tasks(images, alike=False)
    for few in (False, True):
        if few:
            monkeypatch.setattr("mygo_edge.learn.features.gaussian_memory.sums_alone", lambda images, features: False)
        memory = GaussianMemory(PLAIN, FEATURES)
        for vectors in (first, second):
            memory.learn(vectors, labels, ["a", "b", "c"])
            memory.refactor(memory.covariance())
        head = memory.heads[1]
        assert head is not None
        expected = by_formula(first, second, labels, memory.strength.best)
        found = head(second).astype(np.float64)
        found, expected = (logits - logits.mean(1, keepdims=True) for logits in (found, expected))
        scale = (found * expected).sum() / (expected**2).sum()  # one over the temperature
        assert 0 < scale <= 1
        np.testing.assert_allclose(found, scale * expected, atol=2e-3)


def test_a_head_tells_classes_apart_better_and_is_none_where_it_does_not() -> None:
    for alike in (False, True):
        first, second, labels = tasks(200, alike=alike)
        memory = GaussianMemory(PLAIN, FEATURES)
        half = np.arange(len(labels)) < (102 if alike else 300)
        memory.learn(first, labels, ["a", "b", "c"])
        memory.refactor(memory.covariance())
        memory.learn(second[half], labels[half], ["a", "b", "c"])
        memory.refactor(memory.covariance())
        if alike:
            assert memory.heads[1] is None
            continue
        head = memory.heads[1]
        assert head is not None
        weight, bias = memory.sleep(memory.covariance())
        rest = second[~half]
        shared = (rest @ weight[CLASSES:].T + bias[CLASSES:]).argmax(1) == labels[~half]
        assert (head(rest).argmax(1) == labels[~half]).mean() > shared.mean() + 0.02


def test_few_images_or_one_class_have_no_head() -> None:
    assert not wants_head(np.arange(99) % 2, FEATURES)
    assert wants_head(np.arange(100) % 2, FEATURES)
    assert not wants_head(np.zeros(1000, np.int64), FEATURES)
    assert sums_alone(30, FEATURES)
    assert not sums_alone(29, FEATURES)


def test_a_head_is_not_what_takes_an_update_past_forty_kilobytes() -> None:
    assert wants_head(np.arange(100) % 7, 1280)
    assert not wants_head(np.arange(100) % 10, 1280)  # 26 KB without it, 38 with it, and what every update brings
    assert all(wants_head(np.arange(100) % classes, 3600) for classes in (2, 3, 10))  # of which none is promised


def test_an_image_left_out_is_judged_as_if_it_had_never_been_there() -> None:
    first, _, labels = tasks(20, alike=True)
    counts = np.bincount(labels)
    prior = np.eye(FEATURES) * 5
    means = np.stack([first[labels == label].mean(0, dtype=np.float64) for label in range(CLASSES)])
    rest = first - means[labels]
    inverse = np.linalg.inv((rest.T @ rest + prior) / 100)
    products = Products(((rest @ inverse) * rest).sum(1), rest @ inverse @ means.T, means @ inverse @ means.T)
    found = distances(products, labels, counts, 1 / 100)
    for image in range(0, len(labels), 7):
        kept = np.arange(len(labels)) != image
        others = np.stack([first[kept & (labels == label)].mean(0, dtype=np.float64) for label in range(CLASSES)])
        left = first[kept] - others[labels[kept]]
        away = first[image] - others
        # The others' distances to their mean, as it is without the image.
        expected = ((away @ np.linalg.inv((left.T @ left + prior) / 100)) * away).sum(1)
        np.testing.assert_allclose(found[image], expected, rtol=1e-4)


def test_heads_survive_a_checkpoint_and_go_with_their_task() -> None:
    first, second, labels = tasks(200, alike=False)
    memory = GaussianMemory(PLAIN, FEATURES)
    for vectors in (first, second):
        memory.learn(vectors, labels, ["a", "b", "c"])
        memory.refactor(memory.covariance())
    again = GaussianMemory(PLAIN, FEATURES)
    again.load_state(memory.state())
    for one, other in zip(memory.heads, again.heads, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_array_equal(one.weight, other.weight)
            np.testing.assert_array_equal(one.bias, other.bias)
    again.forget(0)
    assert len(again.heads) == 1
    assert isinstance(again.heads[0], WakeHead)
    older = memory.state()
    for key in [key for key in older if key.startswith("heads.")]:
        del older[key]
    again.load_state(older)
    assert again.heads == [None, None]


def test_a_head_of_few_images_is_that_of_the_many() -> None:
    first, second, labels = tasks(60, alike=False)
    pooled, alone = PooledMoments.empty(FEATURES), PooledMoments.empty(FEATURES)
    pooled.pool(first, labels, ["a", "b", "c"])
    means: ClassMeans = alone.pool(second, labels, ["a", "b", "c"])
    shared = SharedCovariance(shrink(pooled, 1.0), PLAIN)
    few, many = (wake_head(shared, 0.0, sums, means, second, labels) for sums in (None, alone))
    assert few is not None
    assert many is not None
    np.testing.assert_allclose(few(second), many(second), atol=5e-3)
