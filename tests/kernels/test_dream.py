"""Dreams depend on (seed, stream, step, sample, task) and on nothing around them, whatever backend runs."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from mygo_edge.kernels.dream import dream
from mygo_edge.model.gan import Generator
from tests.kernels.stacks import dreams_in_double, memory_of, relative_rms

GOLDEN = Path(__file__).parent / "golden" / "dreams.json"
CLASSES = (2, 5, 3)
KEY = {"seed": 2**63 + 3, "stream": 2, "step": 5}
SHAPES = [(1, 8, 8), (1, 12, 9), (3, 8, 15), (1, 33, 17)]
# Relative root mean square against float64: rounding of the operands and of the answer.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 4e-3}


@pytest.fixture(params=["torch", "triton"])
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def memory(device):
    """For what does not depend on the architecture: the interpreter is quick with perceptrons."""
    return memory_of((1, 8, 9), CLASSES, kind="perceptron", device=device)


@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*product(SHAPES, [torch.float32]), *product(SHAPES[1:2], [torch.float16, torch.bfloat16])],
    ids=str,
)
def test_dreams_are_those_of_double_precision_arithmetic(shape, kind, dtype, backend, device, poisoned):
    memory = memory_of(shape, CLASSES, width=20, kind=kind, device=device)
    batch = memory.dream([3, 0, 4], **KEY, dtype=dtype, backend=backend)
    assert batch.images.dtype == dtype
    assert batch.images.shape == (7, *shape)
    expected = dreams_in_double(memory.stack, batch, torch.arange(7), **KEY)
    assert relative_rms(batch.images, expected) < TOLERANCE[dtype]


def test_the_generator_that_is_trained_by_default_dreams_through_the_kernels(backend, device, poisoned):
    memory = memory_of((1, 28, 28), (2, 2), width=64, device=device)
    batch = memory.dream([2, 1], **KEY, backend=backend)
    expected = dreams_in_double(memory.stack, batch, torch.arange(3), **KEY)
    assert relative_rms(batch.images, expected) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
def test_three_hundred_tasks_of_unequal_counts(kind, backend, device, poisoned):
    classes = [1 + task % 7 for task in range(300)]
    memory = memory_of((1, 8, 8), classes, width=4, kind=kind, device=device)
    counts = [0] * 300
    counts[0], counts[7], counts[150], counts[299] = 1, 70, 2, 3
    batch = memory.dream(counts, **KEY, backend=backend)
    assert torch.bincount(batch.task_ids, minlength=300).tolist() == counts
    assert (batch.class_ids < memory.stack.class_offsets.diff()[batch.task_ids]).all()
    assert relative_rms(batch.images, dreams_in_double(memory.stack, batch, torch.arange(76), **KEY)) < 2e-6


def test_one_sample_of_one_task(backend, device, poisoned):
    memory = memory_of((1, 9, 8), (4,), device=device)
    batch = memory.dream([1], **KEY, backend=backend)
    assert relative_rms(batch.images, dreams_in_double(memory.stack, batch, torch.arange(1), **KEY)) < 2e-6


def test_no_dreams_are_an_empty_batch(memory, backend):
    for tasks in ([0, 0], [], torch.empty(0, dtype=torch.int64)):
        batch = memory.dream(tasks, **KEY, backend=backend)
        assert batch.images.shape == (0, 1, 8, 9)
        assert batch.decisions.shape == (2, 0)


def test_equal_keys_give_equal_dreams_and_other_keys_other_ones(memory, backend):
    first, second = (memory.dream([2, 0, 3], **KEY, backend=backend) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for name in KEY:
        other = memory.dream([2, 0, 3], **{**KEY, name: KEY[name] + 1}, backend=backend)
        assert not torch.allclose(first.images, other.images, atol=1e-3)


@pytest.mark.parametrize("world", [2, 20])
def test_the_parts_of_a_batch_are_the_dreams_of_the_whole(memory, world, backend):
    whole = memory.dream([3, 0, 13], **KEY, backend=backend)
    for rank in range(0, world, 6):
        part = memory.dream([3, 0, 13], **KEY, part=(rank, world), backend=backend)
        assert torch.equal(part.task_ids, whole.task_ids[rank::world])
        assert torch.equal(part.class_ids, whole.class_ids[rank::world])
        torch.testing.assert_close(part.images, whole.images[rank::world], atol=1e-6, rtol=0)


def test_steps_dreamt_ahead_are_the_dreams_of_each_step(memory, backend):
    key = {"seed": 9, "stream": 1}
    ahead = memory.dream([3, 0, 4], **key, step=2**32 - 2, steps=3, part=(1, 2), backend=backend)
    for place, step in enumerate((2**32 - 2, 2**32 - 1, 0)):  # the counter wraps
        alone = memory.dream([3, 0, 4], **key, step=step, part=(1, 2), backend=backend)
        rows = slice(place * len(alone.images), (place + 1) * len(alone.images))
        assert torch.equal(ahead.task_ids[rows], alone.task_ids)
        assert torch.equal(ahead.class_ids[rows], alone.class_ids)
        assert torch.equal(ahead.decisions[:, rows], alone.decisions)
        torch.testing.assert_close(ahead.images[rows], alone.images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
def test_tasks_may_come_in_any_order_and_the_position_as_tensors(kind, backend, device, poisoned):
    memory = memory_of((1, 8, 9), CLASSES, kind=kind, device=device)
    task_ids = torch.tensor([2, 0, 1, 1, 2, 0, 0], device=device)
    position = {"seed": torch.tensor(4, device=device), "stream": 1, "step": torch.tensor(7, device=device)}
    mixed = memory.dream(task_ids, **position, backend=backend)
    expected = dreams_in_double(memory.stack, mixed, torch.arange(7), seed=4, stream=1, step=7)
    assert relative_rms(mixed.images, expected) < 2e-6
    assert torch.equal(mixed.task_ids, task_ids)


def test_a_sample_does_not_depend_on_the_tasks_of_the_others(memory, backend, device):
    task_ids = torch.tensor([2, 0, 1, 1, 2, 0, 0], device=device)
    mixed = memory.dream(task_ids, **KEY, backend=backend)
    for task in range(3):
        alone = memory.dream([0] * task + [7], **KEY, backend=backend)
        of_task = task_ids == task
        torch.testing.assert_close(alone.images[of_task], mixed.images[of_task], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tile_sizes_and_chunks_do_not_change_dreams(kind, dtype, device, monkeypatch, poisoned):
    from mygo_edge.kernels import convolution_triton, dream_triton

    memory = memory_of((1, 8, 9), (2, 3), kind=kind, device=device)
    usual = memory.dream([20, 17], **KEY, dtype=dtype, backend="triton")
    monkeypatch.setattr(dream_triton, "target_of", lambda device: 90)  # the tiles of a card, also without one
    monkeypatch.setattr(convolution_triton, "chunk_tiles", lambda *_: 1)
    other = memory.dream([20, 17], **KEY, dtype=dtype, backend="triton")
    assert torch.equal(usual.class_ids, other.class_ids)
    assert torch.equal(usual.decisions, other.decisions)
    torch.testing.assert_close(usual.images, other.images, atol=2e-6 if dtype == torch.float32 else 1e-2, rtol=0)


@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
def test_weights_need_not_be_contiguous(kind, backend, device):
    memory = memory_of((1, 8, 9), CLASSES, kind=kind, device=device)
    usual = memory.dream([1, 0, 2], **KEY, backend=backend)
    stack = memory.stack
    strided = [torch.stack([weight, weight], -1)[..., 0] for weight in (stack.base_weight, *stack.weights)]
    assert not strided[0].is_contiguous()
    loose = replace(
        stack,
        base_weight=strided[0],
        class_bias=stack.class_bias.T.contiguous().T,
        weights=strided[1:],
        biases=[torch.stack([bias, bias], -1)[..., 0] for bias in stack.biases],
    )
    torch.testing.assert_close(dream(loose, [1, 0, 2], **KEY, backend=backend).images, usual.images, atol=2e-6, rtol=0)


def test_mixed_precision_around_a_dream_does_not_change_it(memory, backend, device):
    plain = memory.dream([2, 2, 2], **KEY, backend=backend)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        inside = memory.dream([2, 2, 2], **KEY, backend=backend)
    assert torch.equal(plain.images, inside.images)


def test_the_first_dreams_of_a_seed_stay_what_they_are(backend, device):
    golden = json.loads(GOLDEN.read_text())
    for kind in ("convolutional", "perceptron"):
        memory = memory_of((1, 8, 8), CLASSES, kind=kind, device=device)
        batch = memory.dream([2, 2, 2], seed=2026, stream=0, step=0, backend=backend)
        assert batch.class_ids.tolist() == golden[kind]["class_ids"]
        pixels = torch.tensor(golden[kind]["pixels"])
        torch.testing.assert_close(batch.images[:, 0, 3, :].cpu(), pixels, atol=3e-6, rtol=0)


def test_a_memory_that_is_moved_dreams_where_it_is():
    memory = memory_of((1, 8, 9), CLASSES, kind="perceptron")
    memory.dream([1, 1, 1], **KEY)
    assert memory.to("meta").stack.base_weight.device.type == "meta"


def test_impossible_wishes_are_refused(memory):
    for wish, reason in [
        ({"tasks": [1, 1, 1, 1]}, "3 generators cannot dream counts"),
        ({"tasks": [1, -1]}, "cannot dream counts"),
        ({"tasks": [1], "seed": -1}, "seed -1 is out of range"),
        ({"tasks": [1], "step": 2**32}, "step 4294967296 is out of range"),
        ({"tasks": [1], "steps": 0}, "cannot dream 0 steps"),
        ({"tasks": [1], "part": (2, 2)}, r"part \(2, 2\)"),
        ({"tasks": [1], "dtype": torch.float64}, "use float32, float16 or bfloat16"),
        ({"tasks": torch.tensor([0.5])}, "int64"),
    ]:
        with pytest.raises(ValueError, match=reason):
            memory.dream(**{**KEY, **wish})


def test_generators_that_do_not_fit_together_are_refused(memory):
    with pytest.raises(ValueError, match="does not fit"):
        memory.add(Generator((1, 8, 8), 2).eval().freeze())
    with pytest.raises(ValueError, match="one kind, architecture and width"):
        memory.add(Generator((1, 8, 9), 2, 16, "perceptron").eval().freeze())
