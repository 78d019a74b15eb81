"""Few new classes beside many: a row each, until all are denoised in common."""

import numpy as np
import pytest

from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform
from mygo_edge.bundle.rows import ClassRows, row_discriminant
from mygo_edge.learn.features.denoised import Denoised
from mygo_edge.learn.features.gaussian_memory import GaussianMemory

FEATURES, CLASSES, EACH = 48, 100, 10


def world() -> tuple[np.ndarray, ClassMeans, ClassRows]:
    """True means, in a third of all directions; what ten images of each class show; rows, of the covariance I."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(CLASSES, FEATURES)) * np.where(np.arange(FEATURES) < FEATURES // 3, 1.0, 0.02)
    means = (3 + truth + rng.normal(size=truth.shape) / np.sqrt(EACH)).astype(np.float32)
    return 3 + truth, ClassMeans(means, np.full(CLASSES, EACH)), ClassRows(means - 3, float(FEATURES))


def part(means: ClassMeans, rows: ClassRows, classes: slice) -> tuple[ClassMeans, ClassRows]:
    return ClassMeans(means.means[classes], means.counts[classes]), ClassRows(rows.rows[classes], rows.spread)


def test_classes_beside_others_are_answered_as_those_denoised_in_common() -> None:
    truth, means, rows = world()
    common = row_discriminant(means, rows)
    denoised = Denoised(*part(means, rows, slice(96)))
    assert denoised.takes(means.counts)
    for start in (96, 98):
        denoised.beside(*part(means, rows, slice(start, start + 2)))
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES), 50)
    vectors = truth[labels] + rng.normal(size=(len(labels), FEATURES))
    found = [(vectors @ weight.T + bias).argmax(1) for weight, bias in (common, (denoised.weight, denoised.bias))]
    right = [np.array([(answers == labels)[part].mean() for part in (labels < 96, labels >= 96)]) for answers in found]
    np.testing.assert_allclose(right[0], right[1], atol=0.08)
    assert (found[0] == found[1]).mean() > 0.9
    assert 0.5 < (found[1] >= 96).mean() / (found[0] >= 96).mean() < 2
    noisy = vectors @ (rows.rows - rows.rows.mean(0)).T - ((means.means - 3) ** 2).sum(1) / 2
    assert (noisy.argmax(1) == labels).mean() < (found[1] == labels).mean()


def test_what_is_denoised_in_common_is_the_discriminant_of_the_rows() -> None:
    _, means, rows = world()
    denoised = Denoised(means, rows)
    for got, expected in zip((denoised.weight, denoised.bias), row_discriminant(means, rows), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_the_scale_is_the_slope_of_denoised_logits_on_those_of_means_as_they_are() -> None:
    _, means, rows = world()
    denoised = Denoised(means, rows)
    rng = np.random.default_rng(2)
    labels = np.arange(20_000) % CLASSES
    vectors = means.means[labels] + rng.normal(size=(len(labels), FEATURES))  # as the memory has it
    raw, mixed = ((vectors - vectors.mean(0)) @ weight.T for weight in (rows.rows, denoised.weight))
    raw, mixed = (logits - logits.mean(1, keepdims=True) for logits in (raw, mixed))
    assert denoised.scale == pytest.approx((raw * mixed).sum() / (raw**2).sum(), rel=0.01)
    assert denoised.scale < 0.98


@pytest.mark.parametrize(("new", "images", "taken"), [(4, EACH, True), (5, EACH, False), (4, 2, False)])
def test_many_classes_or_those_of_few_images_are_denoised_with_all(new: int, images: int, taken: bool) -> None:
    _, means, rows = world()
    assert Denoised(means, rows).takes(np.append(means.counts, np.full(new, images))) == taken


def test_a_memory_that_goes_on_among_classes_that_came_beside_ends_the_same_to_the_bit() -> None:
    def learn(memory: GaussianMemory, index: int, classes: int) -> None:
        rng = np.random.default_rng(index)
        labels = np.repeat(np.arange(classes), 3)
        centres = rng.uniform(1, 2, (classes, FEATURES))
        vectors = centres[labels] + rng.normal(0, 0.2, (len(labels), FEATURES))
        memory.learn(vectors.astype(np.float32), labels, [str(label) for label in range(classes)])

    def sleep(memory: GaussianMemory) -> tuple[np.ndarray, np.ndarray]:
        covariance = memory.covariance()
        found = memory.sleep(covariance)
        memory.refactor(covariance, found[0])
        return found

    def empty() -> GaussianMemory:
        return GaussianMemory(PowerTransform(), FEATURES, rank=8)

    sizes = (CLASSES, 2, 2, 2, 2)
    whole, states = empty(), []
    for index, classes in enumerate(sizes):
        learn(whole, index, classes)
        states.append({key: value.copy() for key, value in whole.state().items()})
        expected = sleep(whole)
    for cut, state in enumerate(states):
        resumed = empty()
        resumed.load_state(state)
        found = sleep(resumed)
        for index, classes in enumerate(sizes[cut + 1 :], cut + 1):
            learn(resumed, index, classes)
            found = sleep(resumed)
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
        assert all(np.array_equal(value, resumed.state()[key]) for key, value in whole.state().items())
    assert whole.state()["sent.denoised"].tolist() == [4, 5]
