"""MyGO in feature space as a method of a run: phases, answers, dreams, state, forgetting."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Task
from mygo_edge.domains.features import Features
from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.dream import dream
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.learn.features.sampled_sleep import descended
from mygo_edge.learn.features.stack import gaussian_stack
from mygo_edge.learn.phase import Phase
from mygo_edge.options import MemoryOptions, SleepOptions, TrainOptions
from mygo_edge.options_check import check

CPU = torch.device("cpu")
WIDTH = 24


class Vectors(Features):
    """A domain whose raw inputs are vectors already; `directions` as of a trunk for texts."""

    def __init__(self, directions: int = 0) -> None:
        self.features, self.transform, self.power = WIDTH, None, 0.5
        self.directions = (lambda counts: directions) if directions else None


def split(task: int, seed: int, per_class: int = 50) -> Split:
    root = np.random.default_rng(1).normal(size=(WIDTH, WIDTH)) * 0.3
    truth = np.random.default_rng([2, task]).normal(size=(2, WIDTH)) * 0.8 + 3
    rng = np.random.default_rng([3, task, seed])
    labels = np.repeat(np.arange(2), per_class)
    vectors = (truth[labels] + rng.normal(size=(len(labels), WIDTH)) @ root).astype(np.float32) ** 2
    return Split(torch.from_numpy(vectors), torch.from_numpy(labels))


def task(index: int, train: Split | None = None) -> Task:
    return Task(f"task{index}", ["a", "b"], train or split(index, 0), split(index, 1), lambda vectors: vectors)


def learnt(tasks: int = 3, method: ExactMyGO | None = None, first: int = 0, directions: int = 0) -> ExactMyGO:
    method = method or ExactMyGO(Vectors(directions), TrainOptions(), CPU)
    for index in range(first, tasks):
        for named in method.phases(index, [task(index)]):
            named.work(Phase(CPU, 0))
    return method


def right(method: ExactMyGO, tasks: list[int]) -> float:
    found = []
    for place, index in enumerate(tasks):
        test = split(index, 1)
        found.append((method.logits(test.inputs).argmax(1) == test.labels + 2 * place).float().mean().item())
    return float(np.mean(found))


def test_a_sampled_sleep_approaches_the_exact_one() -> None:
    options = replace(TrainOptions(), sleep=SleepOptions(form="sampled", steps=300, learning_rate=0.02))
    sampled, exact = learnt(2, ExactMyGO(Vectors(), options, CPU)), learnt(2)
    inputs = torch.cat([split(index, 1).inputs for index in range(2)])
    one, other = sampled.logits(inputs), exact.logits(inputs)
    assert not torch.equal(one, other)
    assert (one.argmax(1) == other.argmax(1)).float().mean() > 0.95
    again = learnt(2, ExactMyGO(Vectors(), options, CPU))
    assert torch.equal(again.logits(inputs), one)


def test_mixed_precision_does_not_change_what_a_sampled_sleep_teaches() -> None:
    weight, bias = np.eye(3, 8, dtype=np.float32), np.zeros(3, np.float32)

    def dreams(step: int) -> torch.Tensor:
        return torch.randn(64, 8, generator=torch.Generator().manual_seed(step))

    class Mixed(Phase):
        def steps(self, total, **state):
            for step in super().steps(total, **state):
                with torch.autocast("cpu", torch.bfloat16):
                    yield step

    how = (weight, bias), dreams, np.zeros(8, np.float32), 5, 0.01
    plain, mixed = (descended(*how, phase(torch.device("cpu"), 0)) for phase in (Phase, Mixed))
    assert all(np.array_equal(one, other) for one, other in zip(plain, mixed, strict=True))


def test_a_sampled_sleep_is_refused_where_the_classifier_is_quadratic() -> None:
    options = replace(TrainOptions(), sleep=SleepOptions(form="sampled"))
    with pytest.raises(MygoEdgeError, match=r"--sleep\.form sampled cannot work .* use exact"):
        ExactMyGO(Vectors(4), options, CPU)


def test_a_fixed_prior_is_refused_where_classes_are_taken_for_equally_likely() -> None:
    with pytest.raises(MygoEdgeError, match=r"--sleep\.prior 1 cannot work .* use auto or 0"):
        ExactMyGO(Vectors(4), replace(TrainOptions(), sleep=SleepOptions(prior="1")), CPU)
    ExactMyGO(Vectors(4), replace(TrainOptions(), sleep=SleepOptions(prior="0")), CPU)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TrainOptions(sleep=SleepOptions(form="exact")), "--sleep.form exact cannot work"),
        (TrainOptions(sleep=SleepOptions(prior="0.5")), r"--sleep\.prior 0\.5 cannot work: .* without a --trunk"),
        (TrainOptions(memory=MemoryOptions(generator="gaussian")), "--memory.generator gaussian cannot work"),
        (
            TrainOptions(trunk="resnet18", methods=("mygo",), memory=MemoryOptions(generator="convolutional")),
            "--memory.generator convolutional cannot work: it must be one of auto, gaussian, perceptron with a --trunk",
        ),
        (
            TrainOptions(trunk="resnet18", methods=("mygo", "ncm"), memory=MemoryOptions(generator="perceptron")),
            "--methods ncm cannot work: .* with a --trunk and --memory.generator perceptron",
        ),
        (
            TrainOptions(
                trunk="resnet18",
                methods=("mygo",),
                memory=MemoryOptions(generator="perceptron"),
                sleep=SleepOptions(form="exact"),
            ),
            "--sleep.form exact cannot work: .* a GAN has no closed form",
        ),
    ],
)
def test_memories_and_sleeps_that_do_not_fit_are_refused_before_anything_is_read(
    options: TrainOptions, words: str
) -> None:
    with pytest.raises(MygoEdgeError, match=words):
        check(options)


@pytest.mark.parametrize("directions", [0, 4])
def test_tasks_are_learnt_and_none_is_forgotten(directions: int) -> None:
    method = learnt(directions=directions)
    assert right(method, [0, 1, 2]) > 0.9
    assert method.logits(split(0, 1).inputs).shape == (100, 6)
    assert [sleep["task"] for sleep in method.sleeps] == [0, 1, 2]
    assert method.sleeps[1]["classifier_change"] > 0


@pytest.mark.parametrize("directions", [0, 4])
def test_a_method_goes_on_from_its_state_to_the_same_bits(directions: int) -> None:
    whole, part = learnt(directions=directions), learnt(2, directions=directions)
    resumed = ExactMyGO(Vectors(directions), TrainOptions(), CPU)
    resumed.load(part.state())
    learnt(3, resumed, first=2)
    expected, found = whole.state(), resumed.state()
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


@pytest.mark.parametrize("directions", [0, 4])
def test_dreams_are_vectors_of_the_trunk_that_are_answered_as_asked(directions: int) -> None:
    method = learnt(directions=directions)
    dreams, classes = method.dream(1, 400, stream=0, step=0)
    assert dreams.shape == (400, WIDTH)
    assert set(classes.tolist()) == {0, 1}
    assert (method.logits(dreams).argmax(1) == classes + 2).float().mean() > 0.85
    assert torch.equal(method.dream(1, 400, stream=0, step=0)[0], dreams)
    assert not torch.equal(method.dream(1, 400, stream=0, step=1)[0], dreams)


def test_a_forgotten_task_has_no_means_and_the_others_stay() -> None:
    method = learnt()
    for named in method.forgetting(1, []):
        named.work(Phase(CPU, 0))
    assert len(method.memory.tasks) == 2
    assert right(method, [0, 2]) > 0.9


def test_a_class_of_one_input_is_refused_by_name() -> None:
    few = Split(split(0, 0).inputs[[0, 1, 60]], torch.tensor([0, 0, 1]))
    method = ExactMyGO(Vectors(), TrainOptions(), CPU)
    with pytest.raises(MygoEdgeError, match=r"task0: class 'b' has 1 image\(s\) for training"):
        method.phases(0, [task(0, few)])[0].work(Phase(CPU, 0))


def test_where_classes_have_covariances_of_their_own_scores_are_measured_on_inputs_left_out() -> None:
    method = learnt(directions=4)
    found = method.calibration
    assert found is not None
    assert (np.diff(found.novelty) >= 0).all()
    tests = [split(index, 1) for index in range(3)]
    logits = np.concatenate([method.logits(test.inputs).numpy() for test in tests])
    labels = np.concatenate([test.labels.numpy() + 2 * index for index, test in enumerate(tests)])

    def surprise(temperature: float) -> float:
        scaled = logits / temperature
        return float((np.logaddexp.reduce(scaled, 1) - scaled[np.arange(len(labels)), labels]).mean())

    usual = 5.0  # what a few inputs, nearly all of them right, cannot refute
    assert 1 <= found.temperature < usual
    assert surprise(found.temperature) < surprise(usual)
    for named in method.forgetting(2, []):
        named.work(Phase(CPU, 0))
    assert method.calibration is not None
    assert len(method.measured) == 2


def test_of_few_inputs_nothing_is_measured() -> None:
    method = ExactMyGO(Vectors(4), TrainOptions(), CPU)
    method.phases(0, [task(0, split(0, 0, per_class=10))])[0].work(Phase(CPU, 0))
    assert method.calibration is None


def test_the_operator_dreams_what_the_method_dreams() -> None:
    """Of one task the very samples; of two in one batch the second's follow the first's."""
    method = learnt(2)
    where = {"seed": method.options.seed, "stream": 3, "step": 4}
    for task in range(2):
        expected, ids = method.dream(task, 20, stream=3, step=4)
        batch = dream(gaussian_stack(method.memory.tasks[task : task + 1], method.shared, CPU), [20], **where)
        assert torch.equal(batch.class_ids, ids)
        torch.testing.assert_close(batch.images, expected, rtol=1e-4, atol=1e-5)
    both = dream(gaussian_stack(method.memory.tasks, method.shared, CPU), [20, 5], **where)
    assert both.task_ids.tolist() == [0] * 20 + [1] * 5
    torch.testing.assert_close(both.images[:20], method.dream(0, 20, stream=3, step=4)[0], rtol=1e-4, atol=1e-5)
