"""The operator is a good citizen of PyTorch: checked, compiled, captured."""

import pytest
import torch

from mygo_edge.kernels.backend import BackendError
from mygo_edge.kernels.dream import flat
from mygo_edge.kernels.layout import layout_of_counts, position_of
from tests.kernels.stacks import memory_of

KEY = {"seed": 3, "stream": 2, "step": 5}


@pytest.fixture(scope="module")
def memory(device):
    return memory_of((1, 8, 8), (2, 3), width=4, device=device)


def arguments(memory, backend):
    stack, device = memory.stack, memory.stack.base_weight.device
    layout = layout_of_counts((2, 1), 2, (0, 1), device)
    return (*flat(stack, layout), position_of(1, 2, 3, device), torch.float32, backend)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_opcheck_finds_nothing(memory, backend):
    torch.library.opcheck(torch.ops.mygo_edge.dream.default, arguments(memory, backend))


@pytest.mark.parametrize("dynamic", [False, True])
def test_dreams_compile_without_a_graph_break(memory, dynamic, device):
    def mean_dream(step):
        batch = memory.dream([2, 3], seed=3, stream=2, step=step)
        return batch.images.mean(0), batch.class_ids

    compiled = torch.compile(mean_dream, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for number in (5, 6):
        step = torch.tensor(number, device=device)
        for actual, expected in zip(compiled(step), mean_dream(step), strict=True):
            torch.testing.assert_close(actual, expected)


def test_a_backend_that_cannot_run_is_told(memory, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendError, match="must be one of"):
        memory.dream([1, 1], **KEY, backend="cutlass")
    if memory.stack.base_weight.device.type == "cpu":
        with pytest.raises(BackendError, match="on cpu"):
            memory.dream([1, 1], **KEY, backend="triton")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: graphs are captured there")
@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
def test_a_captured_graph_dreams_anew_at_every_replay(kind, device):
    memory = memory_of((1, 28, 28), (2, 3), kind=kind, device=device)
    step = torch.tensor(0, device=device)
    seed = torch.tensor(KEY["seed"], device=device)

    def dreams():
        return memory.dream([40, 30], seed=seed, stream=2, step=step, backend="triton").images

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        dreams()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        images = dreams()
    for number in (3, 4):
        step.fill_(number)
        graph.replay()
        assert torch.equal(images, memory.dream([40, 30], **{**KEY, "step": number}, backend="triton").images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: hosts wait for nothing else")
def test_a_dream_does_not_make_the_host_wait(device):
    memory = memory_of((1, 28, 28), (2, 3), device=device)
    task_ids = torch.randint(2, (100,), device=device)
    for tasks in ([40, 30], task_ids):
        memory.dream(tasks, **KEY, backend="triton")  # layouts and kernels are made once
        torch.cuda.set_sync_debug_mode("error")
        try:
            memory.dream(tasks, **KEY, backend="triton")
        finally:
            torch.cuda.set_sync_debug_mode("default")
