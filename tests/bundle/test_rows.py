"""Rows of a classifier and the calibration of its scores as files: small, exact enough, and refused where damaged."""

from dataclasses import replace

import numpy as np
import pytest

from mygo_edge.bundle.calibration import Calibration, read_calibration, write_calibration
from mygo_edge.bundle.correction import corrected, difference, read_correction, write_correction
from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, SharedFactor, discriminant
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import read_arrays, write_arrays
from mygo_edge.bundle.rows import ClassRows, join_rows, read_rows, row_discriminant, stored, write_rows

CLASSES, FEATURES = 5, 40
CALIBRATION = Calibration(7.5, np.linspace(-20, 40, 101, dtype=np.float32))


def memory() -> tuple[ClassMeans, SharedFactor, ClassRows]:
    """Means, a factor, and the rows that the factor's covariance gives."""
    rng = np.random.default_rng(0)
    means = ClassMeans(rng.normal(2, 1, (CLASSES, FEATURES)).astype(np.float32), np.array([40, 50, 60, 50, 4]))
    factor = rng.normal(0, 0.5, (6, FEATURES)).astype(np.float32)
    shared = SharedFactor(factor, np.full(FEATURES, 0.3, np.float32), PowerTransform(), 0.1, float(FEATURES))
    inverse = np.linalg.inv(factor.T.astype(np.float64) @ factor + np.diag(shared.diagonal))
    return means, shared, ClassRows(((means.means - 1.5) @ inverse).astype(np.float32), shared.spread)


def test_rows_from_any_centre_give_the_discriminant_of_their_covariance() -> None:
    means, shared, rows = memory()
    for got, expected in zip(row_discriminant(means, rows), discriminant(means, shared), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_rows_as_stored_take_a_byte_a_feature_and_keep_small_values() -> None:
    _, _, rows = memory()
    data = write_rows(rows)
    assert len(data) < CLASSES * (FEATURES + 4) + 900
    read = read_rows(data, "rows", FEATURES, CLASSES)
    assert np.array_equal(read.rows, stored(rows).rows)
    largest = np.abs(rows.rows).max(1, keepdims=True)
    assert (np.abs(read.rows - rows.rows) <= np.sqrt(np.abs(rows.rows) * largest) / 127 + largest / 127**2).all()


def test_rows_of_two_covariances_do_not_make_a_classifier() -> None:
    _, _, rows = memory()
    with pytest.raises(BundleError, match="of different covariances"):
        join_rows([rows, replace(rows, spread=1.0)])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rows", np.zeros((CLASSES, FEATURES), np.float32), "the rows do not fit"),
        ("rows", np.zeros((CLASSES, 3), np.int8), "the rows do not fit"),
        ("scale", np.full(CLASSES, np.nan, np.float32), "the scale is not finite"),
        ("scale", np.ones(2, np.float32), "the scale does not fit"),
        ("spread", np.array(np.inf), "the spread is out of range"),
        ("spread", np.zeros(2), "it lacks the spread"),
    ],
)
def test_rows_that_do_not_fit_are_refused(key: str, value: np.ndarray, words: str) -> None:
    arrays = read_arrays(write_rows(memory()[2]), ["rows", "scale", "spread"])
    with pytest.raises(BundleError, match=f"rows-a.*{words}"):
        read_rows(write_arrays(arrays | {key: value}), "rows-a", FEATURES, CLASSES)


def test_a_calibration_comes_back_as_it_was() -> None:
    read = read_calibration(write_calibration(CALIBRATION), "calibration")
    assert read.temperature == CALIBRATION.temperature
    assert np.array_equal(read.novelty, CALIBRATION.novelty)


def correction() -> tuple[ClassRows, ClassRows, bytes]:
    """Rows, those of a covariance that differs in two directions, and what makes the first the second, as stored."""
    _, _, old = memory()
    rng = np.random.default_rng(1)
    moved = rng.normal(0, 0.05, (CLASSES, 2)) @ rng.normal(0, 1, (2, FEATURES))
    new = ClassRows(old.rows + moved.astype(np.float32), old.spread * 2)
    return old, new, write_correction(difference(old.rows, new, np.linspace(0.1, 1, FEATURES), 2))


def test_rows_of_an_older_covariance_are_corrected_to_those_of_a_newer_one() -> None:
    old, new, data = correction()
    found = corrected([old], read_correction(data, "correction", FEATURES, CLASSES))
    assert found.spread == new.spread
    assert np.abs(found.rows - new.rows).max() < 0.02 * np.abs(old.rows - new.rows).max()


def test_a_task_that_came_later_has_rows_of_the_newer_covariance_or_is_refused() -> None:
    old, new, data = correction()
    read = read_correction(data, "correction", FEATURES, 2 * CLASSES)
    assert np.array_equal(corrected([old, new], read).rows[CLASSES:], new.rows)
    for tasks in ([old, old], [ClassRows(old.rows[:3], old.spread), ClassRows(old.rows, old.spread)]):
        with pytest.raises(BundleError, match="not of these tasks"):
            corrected(tasks, read)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("left", np.zeros((CLASSES, 2), np.float32), "left does not fit"),
        ("left", np.zeros((CLASSES + 1, 2), np.int8), "the scale of left does not fit"),
        ("left", np.zeros((CLASSES, 3), np.int8), "its sides do not fit"),
        ("right", np.zeros((2, FEATURES + 1), np.int8), "it does not fit the rows"),
        ("right", np.zeros((2, 0), np.int8), "right does not fit"),
        ("right_scale", np.array([1, np.nan], np.float32), "the scale of right is not finite"),
        ("left_scale", np.full(CLASSES, 1e9, np.float32), "the scale of left is not finite"),
        ("spread", np.array(np.nan), "the spread is out of range"),
    ],
)
def test_a_correction_that_does_not_fit_is_refused(key: str, value: np.ndarray, words: str) -> None:
    data = correction()[2]
    arrays = read_arrays(data, ["left", "left_scale", "right", "right_scale", "spread"])
    with pytest.raises(BundleError, match=f"correction-a.*{words}"):
        read_correction(write_arrays(arrays | {key: value}), "correction-a", FEATURES, CLASSES)
    with pytest.raises(BundleError, match="does not fit the rows"):
        read_correction(data, "correction-a", FEATURES, CLASSES - 1)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("temperature", np.array(0.0), "the temperature is out of range"),
        ("temperature", np.array(np.nan), "the temperature is out of range"),
        ("novelty", CALIBRATION.novelty[::-1].copy(), "the quantiles do not rise"),
        ("novelty", np.full(9, np.inf, np.float32), "the quantiles do not rise"),
        ("novelty", np.zeros(2**13, np.float32), "too many"),
        ("novelty", np.zeros((2, 2), np.float32), "the quantiles do not fit"),
    ],
)
def test_a_calibration_that_is_none_is_refused(key: str, value: np.ndarray, words: str) -> None:
    arrays = read_arrays(write_calibration(CALIBRATION), ["temperature", "novelty"])
    with pytest.raises(BundleError, match=f"calibration.*{words}"):
        read_calibration(write_arrays(arrays | {key: value}), "calibration.npz")
    with pytest.raises(BundleError, match="holds no calibration"):
        read_calibration(b"PK no archive", "calibration.npz")
