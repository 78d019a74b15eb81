"""Dreams depend on (seed, stream, step, sample, task) and on nothing around them."""

import pytest
import torch

from mygo_edge.kernels.noise import dream_noise
from mygo_edge.model.gan import Generator
from mygo_edge.model.memory import GenerativeMemory

SHAPE = (1, 12, 9)
CLASSES = (2, 5, 3)


@pytest.fixture(scope="module")
def memory():
    torch.manual_seed(0)
    memory = GenerativeMemory(SHAPE)
    for classes in CLASSES:
        generator = Generator(SHAPE, classes)
        for _ in range(3):  # give the norms statistics of their own
            generator(torch.randn(64, 64), torch.randint(classes, (64,)))
        memory.add(generator.eval().freeze())
    return memory


def test_equal_keys_give_equal_dreams_and_other_keys_other_ones(memory):
    key = {"seed": 3, "stream": 2, "step": 5}
    first, second = memory.dream([4, 5, 6], **key), memory.dream([4, 5, 6], **key)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for name in key:
        other = memory.dream([4, 5, 6], **{**key, name: key[name] + 1})
        assert not torch.allclose(first.images, other.images, atol=1e-3)


def test_a_batch_mixes_tasks_with_classes_of_their_own(memory):
    batch = memory.dream([40, 0, 60], seed=0, stream=0, step=0)
    assert batch.images.shape == (100, *SHAPE)
    assert batch.images.abs().max() <= 1
    assert batch.task_ids.tolist() == [0] * 40 + [2] * 60
    assert set(batch.class_ids[:40].tolist()) == {0, 1}
    assert set(batch.class_ids[40:].tolist()) == {0, 1, 2}


def test_dreams_equal_each_generator_run_alone(memory):
    batch = memory.dream([7, 8, 9], seed=1, stream=2, step=3)
    classes = torch.tensor(CLASSES)[batch.task_ids]
    z, class_ids, _ = dream_noise(torch.arange(24), classes, 64, seed=1, stream=2, step=3, xp=torch)
    assert torch.equal(class_ids, batch.class_ids)
    for task, generator in enumerate(memory.generators):
        part = batch.task_ids == task
        torch.testing.assert_close(batch.images[part], generator(z[part], class_ids[part]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("world", [2, 3, 20])
def test_the_parts_of_a_batch_are_the_dreams_of_the_whole(memory, world):
    key = {"seed": 9, "stream": 1, "step": 0}
    whole = memory.dream([3, 0, 13], **key)
    for rank in range(world):
        part = memory.dream([3, 0, 13], **key, part=(rank, world))
        assert torch.equal(part.task_ids, whole.task_ids[rank::world])
        assert torch.equal(part.class_ids, whole.class_ids[rank::world])
        torch.testing.assert_close(part.images, whole.images[rank::world], atol=1e-6, rtol=0)


def test_steps_dreamt_ahead_are_the_dreams_of_each_step(memory):
    ahead = memory.dream([3, 0, 4], seed=9, stream=1, step=2**32 - 2, steps=3, part=(1, 2))
    for place, step in enumerate((2**32 - 2, 2**32 - 1, 0)):  # the counter wraps
        alone = memory.dream([3, 0, 4], seed=9, stream=1, step=step, part=(1, 2))
        rows = slice(place * len(alone.images), (place + 1) * len(alone.images))
        assert torch.equal(ahead.task_ids[rows], alone.task_ids)
        assert torch.equal(ahead.class_ids[rows], alone.class_ids)
        assert torch.equal(ahead.decisions[:, rows], alone.decisions)
        torch.testing.assert_close(ahead.images[rows], alone.images, atol=1e-6, rtol=0)


def test_tasks_may_come_in_any_order_and_the_position_as_tensors(memory):
    task_ids = torch.tensor([2, 0, 1, 1, 2, 0, 0])
    mixed = memory.dream(task_ids, seed=torch.tensor(4), stream=1, step=torch.tensor(7))
    for row, task in enumerate(task_ids.tolist()):
        counts = [0] * task + [len(task_ids)]
        alone = memory.dream(counts, seed=4, stream=1, step=7)
        assert alone.class_ids[row] == mixed.class_ids[row]
        torch.testing.assert_close(alone.images[row], mixed.images[row], atol=1e-6, rtol=0)


def test_latents_are_standard_normal():
    z, _, _ = dream_noise(torch.arange(20_000), torch.full((20_000,), 2), 64, seed=0, stream=0, step=0, xp=torch)
    assert abs(z.mean().item()) < 5 / z.numel() ** 0.5
    assert abs(z.var().item() - 1) < 5 * (2 / z.numel()) ** 0.5
    assert abs((z**4).mean().item() - 3) < 5 * (96 / z.numel()) ** 0.5
    correlation = torch.corrcoef(z.T) - torch.eye(64)
    assert correlation.abs().max() < 5.5 / 20_000**0.5


@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [1, -1]])
def test_impossible_counts_are_refused(memory, counts):
    with pytest.raises(ValueError, match="cannot dream"):
        memory.dream(counts, seed=0, stream=0, step=0)


def test_no_dreams_are_an_empty_batch(memory):
    assert memory.dream([0, 0], seed=0, stream=0, step=0).images.shape == (0, *SHAPE)


def test_a_generator_of_another_shape_is_refused(memory):
    with pytest.raises(ValueError, match="does not fit"):
        memory.add(Generator((1, 8, 8), 2).eval().freeze())
