"""MyGO in feature space as a method of a run: phases, answers, dreams, state, forgetting."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mygo_edge.bundle.vision import ImageInput
from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Task
from mygo_edge.domains.features import Features, Photos
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.exact import ExactMyGO
from mygo_edge.learn.phase import Phase
from mygo_edge.options import TrainOptions
from mygo_edge.trunks.extract import Extractor
from mygo_edge.trunks.onnx_file import load
from tests.trunks.test_trunks import photo, small_graph

CPU = torch.device("cpu")
WIDTH = 24


class Vectors:
    """Raw inputs are vectors already."""

    width = WIDTH

    def __call__(self, inputs: torch.Tensor) -> np.ndarray:
        return inputs.numpy()


def split(task: int, seed: int, per_class: int = 50) -> Split:
    root = np.random.default_rng(1).normal(size=(WIDTH, WIDTH)) * 0.3
    truth = np.random.default_rng([2, task]).normal(size=(2, WIDTH)) * 0.8 + 3
    rng = np.random.default_rng([3, task, seed])
    labels = np.repeat(np.arange(2), per_class)
    vectors = (truth[labels] + rng.normal(size=(len(labels), WIDTH)) @ root).astype(np.float32) ** 2
    return Split(torch.from_numpy(vectors), torch.from_numpy(labels))


def task(index: int) -> Task:
    domain = Features(Vectors())
    return Task(f"task{index}", ["a", "b"], split(index, 0), split(index, 1), lambda raw: domain.prepare(raw, CPU))


def learnt(tasks: int = 3, method: ExactMyGO | None = None, first: int = 0) -> ExactMyGO:
    method = method or ExactMyGO(Features(Vectors()), TrainOptions(), CPU)
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


def test_tasks_are_learnt_and_none_is_forgotten() -> None:
    method = learnt()
    assert method.net.widths == [2, 2, 2]
    assert right(method, [0, 1, 2]) > 0.9
    assert [sleep["form"] for sleep in method.sleeps] == ["exact"] * 3
    assert "left out" in method.sleeps[-1]["reason"]


def test_a_method_goes_on_from_its_state_to_the_same_bits() -> None:
    whole, part = learnt(), learnt(2)
    resumed = ExactMyGO(Features(Vectors()), TrainOptions(), CPU)
    resumed.load(part.state())
    learnt(3, resumed, first=2)
    expected = whole.state()
    assert expected.keys() == resumed.state().keys()
    assert all(torch.equal(value, resumed.state()[key]) for key, value in expected.items())


def test_dreams_are_vectors_of_the_trunk_that_are_answered_as_asked() -> None:
    method = learnt()
    dreams, classes = method.dream(1, 400, stream=0, step=0)
    assert dreams.shape == (400, WIDTH)
    assert set(classes.tolist()) == {0, 1}
    assert (method.logits(dreams).argmax(1) == classes + 2).float().mean() > 0.85
    again, _ = method.dream(1, 400, stream=0, step=0)
    assert torch.equal(dreams, again)


def test_a_forgotten_task_has_no_head_and_no_means_and_the_others_stay() -> None:
    method = learnt()
    for named in method.forgetting(1):
        named.work(Phase(CPU, 0))
    assert method.net.widths == [2, 2]
    assert len(method.memory.tasks) == 2
    assert right(method, [0, 2]) > 0.9


def test_pictures_of_files_and_of_memory_become_vectors(tmp_path: Path) -> None:
    form = ImageInput((64, 64), 64, "bicubic", (0.5,) * 3, (0.25,) * 3)
    trunk = load(small_graph(tmp_path / "own.onnx"), "vector", form, "ours")
    told: list[tuple[int, int]] = []
    maker = Photos(Extractor(trunk, threads=1), lambda: lambda done, of: told.append((done, of)))
    domain = Features(maker)
    vectors = domain.prepare([photo(tmp_path / "a.jpg", (80, 70)), photo(tmp_path / "b.jpg", (64, 64), 1)], CPU)
    assert vectors.shape == (2, domain.features) == (2, 4)
    assert told == [(2, 2)]
    assert domain.prepare(torch.zeros(3, 1, 28, 28), CPU).shape == (3, 4)
    assert domain.pictures(vectors).shape == (2, 1, 2, 2)
    with pytest.raises(MygoEdgeError, match="takes pictures, not strs"):
        domain.prepare(["a text"], CPU)


def test_layers_and_memory_agree_on_the_transform() -> None:
    domain = Features(Vectors())
    vectors = torch.linspace(-3, 9, 2 * WIDTH).reshape(2, WIDTH)
    assert np.allclose(domain.layers()(vectors).numpy(), domain.transform(vectors.numpy()), atol=1e-6)
