"""Learning in feature space: task after task, resumable, at a size that grows by means alone."""

from collections import Counter

import numpy as np
import pytest

from mygo_edge.bundle.gaussian import PowerTransform, discriminant, mahalanobis, novelty
from mygo_edge.bundle.rows import join_rows, row_discriminant, stored
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.learn.features.rivals import NearestMean

FEATURES, TASKS, WIDTH = 32, 5, 2


def task(index: int, seed: int = 0, per_class: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Features as a trunk with ReLU gives them: none below 0, squares of nearly Gaussian ones."""
    root = np.random.default_rng(1).normal(size=(FEATURES, FEATURES)) * 0.3
    truth = np.random.default_rng([2, index]).normal(size=(WIDTH, FEATURES)) * 0.8 + 3
    rng = np.random.default_rng([3, index, seed])
    labels = np.repeat(np.arange(WIDTH), per_class)
    return (truth[labels] + rng.normal(size=(len(labels), FEATURES)) @ root).astype(np.float32) ** 2, labels


def learnt(tasks: int = TASKS, memory: GaussianMemory | None = None, first: int = 0) -> GaussianMemory:
    memory = memory or GaussianMemory(PowerTransform.of(task(0)[0]), FEATURES, rank=8)
    for index in range(first, tasks):
        memory.learn(*task(index), ["a", "b"])
        memory.refactor(memory.covariance())
    return memory


def held_out(tasks: int = TASKS) -> tuple[np.ndarray, np.ndarray]:
    parts = [task(index, seed=1) for index in range(tasks)]
    labels = np.concatenate([labels + WIDTH * index for index, (_, labels) in enumerate(parts)])
    return np.concatenate([features for features, _ in parts]), labels


def accuracies(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """With the task known and unknown."""
    heads = np.where(np.arange(logits.shape[1]) // WIDTH == labels[:, None] // WIDTH, logits, -np.inf)
    return float((heads.argmax(1) == labels).mean()), float((logits.argmax(1) == labels).mean())


def test_exact_sleep_knows_all_tasks_and_beats_the_nearest_mean() -> None:
    memory, rival = learnt(), NearestMean()
    for index in range(TASKS):
        features, labels = task(index)
        rival.learn(features, labels + WIDTH * index)
    features, labels = held_out()
    weight, bias = memory.sleep(memory.covariance())
    known, unknown = accuracies(memory.transform(features) @ weight.T + bias, labels)
    rival_known, rival_unknown = accuracies(rival.logits(features), labels)
    assert known > max(rival_known, 0.9)
    assert unknown > rival_unknown + 0.05


def test_the_rows_that_devices_get_answer_as_the_box_does() -> None:
    memory = learnt()
    vectors = memory.transform(held_out()[0])
    rows = join_rows([stored(task) for task in memory.sent.tasks])
    answers = [
        (vectors @ weight.T + bias).argmax(1)
        for weight, bias in (memory.sleep(memory.covariance()), row_discriminant(memory.means, rows))
    ]
    assert (answers[0] == answers[1]).mean() > 0.97


def test_a_tasks_rows_stay_while_the_covariance_they_were_made_with_does() -> None:
    memory = learnt()
    before = [task.rows.copy() for task in memory.sent.tasks]
    memory.learn(*task(0, seed=5, per_class=3), ["a", "b"])
    memory.refactor(memory.covariance())
    after = [task.rows for task in memory.sent.tasks]
    assert len(after) == len(before) + 1
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=False))


def test_the_novelty_of_known_classes_is_that_of_images_not_seen() -> None:
    memory = learnt()
    features, _ = held_out()
    vectors = memory.transform(features)
    weight, bias = memory.sent.discriminant(memory.tasks)
    nearest = mahalanobis(vectors, memory.means, memory.shared).min(1)
    found = novelty(nearest, (vectors @ weight.T + bias).max(1), memory.shared)
    assert 0.01 < (found > np.quantile(memory.novelty, 0.95)).mean() < 0.12


def test_the_devices_classifier_is_nearly_as_good() -> None:
    memory = learnt()
    features, labels = held_out()
    vectors = memory.transform(features)
    assert memory.shared is not None
    whole, cut = (
        accuracies(vectors @ weight.T + bias, labels)[1]
        for weight, bias in (memory.sleep(memory.covariance()), discriminant(memory.means, memory.shared))
    )
    assert cut > whole - 0.08


def test_an_old_tasks_means_never_change_and_the_order_of_tasks_does_not_matter() -> None:
    one = learnt()
    frozen = one.tasks[0].means.copy()
    one.learn(*task(7), ["c", "d"])
    assert np.array_equal(one.tasks[0].means, frozen)
    forward, backward = (GaussianMemory(PowerTransform.of(task(0)[0]), FEATURES, rank=8) for _ in range(2))
    for index in range(3):
        forward.learn(*task(index), ["a", "b"])
        backward.learn(*task(2 - index), ["a", "b"])
    assert np.allclose(forward.pooled.scatter, backward.pooled.scatter)


def test_a_memory_goes_on_from_its_state_to_the_same_bits() -> None:
    whole, part = learnt(), learnt(3)
    resumed = GaussianMemory(part.transform, FEATURES, rank=8)
    resumed.load_state({key: value.copy() for key, value in part.state().items()})
    learnt(memory=resumed, first=3)
    for key, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[key]), key


def test_small_tasks_go_on_to_the_same_bits_wherever_they_were_cut() -> None:
    """Also where the box keeps a newer classifier than devices have, and where the last task waits for its sleep."""

    def tasks(memory: GaussianMemory, first: int, last: int) -> GaussianMemory:
        for index in range(first, last):
            memory.learn(*task(index % TASKS, seed=index, per_class=16), ["a", "b"])
            memory.refactor(memory.covariance())
        return memory

    def empty() -> GaussianMemory:
        return GaussianMemory(PowerTransform.of(task(0)[0]), FEATURES, rank=8)

    whole, ways = tasks(empty(), 0, 11).state(), set()
    for cut in range(1, 11):
        part, resumed = tasks(empty(), 0, cut), empty()
        part.learn(*task(cut % TASKS, seed=cut, per_class=16), ["a", "b"])
        resumed.load_state({key: value.copy() for key, value in part.state().items()})
        ways.add("kept.rows" in part.state())
        resumed.refactor(resumed.covariance())
        state = tasks(resumed, cut + 1, 11).state()
        assert state.keys() == whole.keys()
        for key, value in whole.items():
            assert np.array_equal(value, state[key]), (cut, key)
    assert ways == {True, False}


def test_a_memory_grows_by_a_mean_a_row_and_a_count_a_class() -> None:
    """And by a number a task; the classifier of the box, where devices have an older one, by a row a class, too, and
    where a wake has a head of its own, by that.
    """

    def sizes(tasks: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for key, value in learnt(tasks).state().items():
            found[key.split(".")[0]] += value.nbytes
        return found

    before, after = sizes(2), sizes(3)
    parts = ("kept", "heads")
    grown = sum((after - before)[key] for key in after if key not in parts)
    assert grown == WIDTH * (8 * FEATURES + 8) + 8
    assert all(size["kept"] <= 4 * FEATURES * (FEATURES + 3 + 3 * WIDTH) + 2 * 8 for size in (before, after))
    assert (after - before)["heads"] in (0, WIDTH * (4 * FEATURES + 4) + 8)


def test_a_small_task_costs_its_own_rows_and_no_new_inverse() -> None:
    memory = learnt()
    before = memory.kept
    memory.learn(*task(0, seed=5, per_class=3), ["a", "b"])
    memory.refactor(memory.covariance())
    assert memory.kept is before
    memory.learn(*task(1, seed=5, per_class=90), ["a", "b"])
    memory.refactor(memory.covariance())
    assert memory.kept is not before


def test_devices_keep_their_factor_while_answers_stay() -> None:
    memory = learnt()
    before, version = memory.shared, memory.factor_version
    memory.learn(*[np.tile(part, (1,) * part.ndim) for part in task(0, seed=5, per_class=3)], ["a", "b"])
    assert memory.refactor(memory.covariance()) is before
    assert memory.factor_version == version
    features, labels = task(9, per_class=400)
    memory.learn(features[:, ::-1] ** 2 / 20, labels, ["a", "b"])
    assert memory.refactor(memory.covariance()) is not before


def test_a_single_image_of_a_class_is_refused_and_leaves_nothing_behind() -> None:
    memory = learnt(2)
    before = memory.state()
    features, labels = task(3)
    with pytest.raises(MygoEdgeError, match="class 'b' has 1 image"):
        memory.learn(features[:61], labels[:61], ["a", "b"])
    assert all(np.array_equal(value, memory.state()[key]) for key, value in before.items())


def test_two_images_a_class_and_more_features_than_images_still_give_a_classifier() -> None:
    memory = GaussianMemory(PowerTransform.of(task(0)[0]), FEATURES, rank=64)
    features, labels = task(0, per_class=2)
    memory.learn(features, labels, ["a", "b"])
    assert memory.prior.temperature > 1  # leaving one of two out says that much, and no more
    assert memory.told_apart is None
    covariance = memory.covariance()
    assert all(np.isfinite(part).all() for part in memory.sleep(covariance))
    assert memory.refactor(covariance).rank <= FEATURES


def test_features_that_can_be_negative_get_a_signed_power() -> None:
    assert PowerTransform.of(np.array([[-1.0, 2.0]])).signed
    assert not PowerTransform.of(np.array([[0.0, 2.0]])).signed
