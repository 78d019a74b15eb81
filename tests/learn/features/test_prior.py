"""How much frequencies of classes count: by Bayes' theorem, within a limit; of even classes not at all."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.bundle.prior import prior_logits
from mygo_edge.data.split import Split
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.learn.features.prior import MOST, Prior
from mygo_edge.learn.features.strength import LeftOut
from mygo_edge.learn.phase import Phase
from mygo_edge.options import SleepOptions, TrainOptions
from tests.learn.features.test_exact import CPU, Vectors, split, task

FEATURES = 32
RARE_FIRST = [(30, 40), (30, 300), (40, 500)]  # images of the classes of each task
FREQUENT_FIRST = RARE_FIRST[::-1]
EVEN = [(100, 100)] * 3


def drawn(tasks: Sequence[tuple[int, int]], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Features of classes that overlap, so many of each, and their labels within the task."""
    rng, found = np.random.default_rng([1, seed]), []
    centres = np.random.default_rng(0).normal(size=(2 * len(tasks), FEATURES)) * 0.2 + 3
    for index, counts in enumerate(tasks):
        labels = np.repeat([0, 1], counts)
        vectors = centres[labels + 2 * index] + rng.normal(size=(len(labels), FEATURES)) * 0.5
        found.append((vectors.astype(np.float32) ** 2, labels))
    return found


def learnt(data: Sequence[tuple[np.ndarray, np.ndarray]], memory: GaussianMemory | None = None) -> GaussianMemory:
    memory = memory or GaussianMemory(PowerTransform.of(data[0][0]), FEATURES, rank=8)
    for features, labels in data:
        memory.learn(features, labels, ["a", "b"])
        memory.refactor(memory.covariance())
    return memory


def right(memory: GaussianMemory, data: Sequence[tuple[np.ndarray, np.ndarray]], prior: float) -> float:
    """Of all inputs, the task unknown."""
    weight, bias = memory.sleep(memory.covariance())
    labels = np.concatenate([labels + 2 * index for index, (_, labels) in enumerate(data)])
    logits = memory.transform(np.concatenate([features for features, _ in data])) @ weight.T + bias
    return float(((logits + prior_logits(memory.means.counts, prior)).argmax(1) == labels).mean())


@pytest.mark.parametrize("tasks", [RARE_FIRST, FREQUENT_FIRST], ids=["rare first", "frequent first"])
def test_frequencies_count_where_classes_are_uneven_and_more_is_answered_rightly(
    tasks: list[tuple[int, int]],
) -> None:
    memory = learnt(drawn(tasks, 0))
    test = drawn(tasks, 1)
    assert right(memory, test, memory.prior_weight) > right(memory, test, 0) + 0.02


def test_of_even_classes_frequencies_change_nothing() -> None:
    memory = learnt(drawn(EVEN, 0))
    assert memory.prior_weight > 0
    assert not prior_logits(memory.means.counts, memory.prior_weight).any()


def test_a_share_of_0_takes_all_classes_for_equally_likely() -> None:
    data = drawn(RARE_FIRST, 0)
    assert learnt(data, GaussianMemory(PowerTransform.of(data[0][0]), FEATURES, prior=0.0)).prior_weight == 0


def test_a_temperature_that_is_high_for_want_of_images_does_not_make_frequencies_count_for_more() -> None:
    prior = Prior()
    logits = 40 * np.random.default_rng(0).normal(size=(60, 3))  # of chance, and sure of it
    counts = np.array([4, 20, 80])
    prior.calibrate(LeftOut(lambda _: -2 * logits, np.arange(60) % 3, counts), 0)
    assert prior.temperature > 20
    assert prior.weight(prior.temperature) == MOST
    assert prior.weight(1.5) == 1.5


def test_a_temperature_goes_on_from_a_checkpoint_to_the_same_bits() -> None:
    data = drawn(RARE_FIRST, 0)
    whole, part = learnt(data).state(), learnt(data[:2])
    resumed = GaussianMemory(part.transform, FEATURES, rank=8)
    resumed.load_state({key: value.copy() for key, value in part.state().items()})
    state = learnt(data[2:], resumed).state()
    assert all(np.array_equal(value, state[key]) for key, value in whole.items())
    assert whole["temperature"] != 1


def test_a_memory_that_is_opened_again_has_the_share_of_its_last_task() -> None:
    data = drawn(RARE_FIRST, 0)
    equal = learnt(data, GaussianMemory(PowerTransform.of(data[0][0]), FEATURES, rank=8, prior=0.0))
    opened = GaussianMemory(equal.transform, FEATURES, rank=8)
    opened.load_state(equal.state())
    assert opened.prior_weight == equal.prior_weight == 0


def test_a_checkpoint_with_a_temperature_for_every_share_goes_on_with_that_of_the_whole() -> None:
    memory = learnt(drawn(RARE_FIRST, 0))
    older = GaussianMemory(memory.transform, FEATURES, rank=8)
    older.load_state(memory.state() | {"temperature": np.array([2.5, 3.0, 3.5])})
    assert older.prior.temperature == 3.5


def test_a_run_that_was_cut_off_before_a_sleep_answers_as_before() -> None:
    few = split(0, 0)
    kept = torch.cat([torch.arange(20), torch.arange(50, 100)])
    method = ExactMyGO(Vectors(), TrainOptions(), CPU)
    for named in method.phases(0, [task(0, Split(few.inputs[kept], few.labels[kept]))]):
        named.work(Phase(CPU, 0))
    before = method.logits(few.inputs)
    method.phases(1, [task(1, split(1, 0))])[0].work(Phase(CPU, 0))
    found = method.logits(few.inputs)  # by a newer temperature
    assert found.shape == before.shape
    assert torch.equal(found.argmax(1), before.argmax(1))


def test_a_run_answers_by_frequencies_unless_classes_are_even_or_the_share_is_fixed_at_0() -> None:
    options = replace(TrainOptions(), sleep=SleepOptions(prior="0"))
    few = split(0, 0)
    kept = torch.cat([torch.arange(20), torch.arange(50, 100)])
    for train, counts in ((Split(few.inputs[kept], few.labels[kept]), np.array([20, 50])), (few, np.array([50, 50]))):
        auto, plain = (ExactMyGO(Vectors(), given, CPU) for given in (TrainOptions(), options))
        for method in (auto, plain):
            for named in method.phases(0, [task(0, train)]):
                named.work(Phase(CPU, 0))
        even = bool(counts[0] == counts[1])
        assert plain.prior == plain.sleeps[-1]["prior"] == 0
        assert (auto.prior == 0) == even
        assert auto.sleeps[-1]["prior"] == (0 if even else 1)
        inputs = split(0, 1).inputs
        moved = auto.logits(inputs) - plain.logits(inputs)
        expected = prior_logits(counts, auto.prior)
        if even:  # but for the temperature of what a wake's head says
            assert torch.equal(auto.logits(inputs).argmax(1), plain.logits(inputs).argmax(1))
        else:
            np.testing.assert_allclose(moved.numpy(), np.tile(expected, (len(inputs), 1)), atol=2e-4)
