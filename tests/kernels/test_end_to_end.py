"""A run whose dreams come out of the kernels learns what a run with PyTorch's dreams learns."""

from copy import deepcopy

import pytest
import torch

from mygo_edge.domains.pixels import Pixels
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.learn.pixels.sleep import sleep
from mygo_edge.measure.accuracy import accuracies, answers_on_tests
from mygo_edge.options import MemoryOptions, SleepOptions, TrainOptions, WakeOptions
from tests.tasks import tasks_of

DIGITS = Pixels((1, 8, 8))

OPTIONS = TrainOptions(
    tasks="0,1/2,3",
    wake=WakeOptions(epochs=1, min_steps=80, batch_size=64),
    memory=MemoryOptions(epochs=1, min_steps=250, batch_size=32),
    sleep=SleepOptions(steps=2, dreams_per_task=8),
)


def test_a_run_with_the_kernels_equals_a_run_with_pytorch(device):
    tasks = tasks_of(OPTIONS, DIGITS, device)
    method = MyGO(DIGITS, OPTIONS, device)
    for index in range(2):
        for named in method.phases(index, [tasks[index]]):
            if (index, named.name) != (1, "sleep"):
                named.work(Phase(device, 0))
    learnt, reports, dreams = {}, {}, {}
    for backend in ("torch", "triton"):
        method.memory.backend = backend
        net = deepcopy(method.net)
        reports[backend] = sleep(net, deepcopy(method.expert), method.memory, DIGITS, OPTIONS.sleep, Phase(device, 0))
        learnt[backend] = accuracies(answers_on_tests(net, tasks), tasks)
        dreams[backend], _ = method.dream(1, 8, stream=3, step=0)
    torch.testing.assert_close(dreams["torch"], dreams["triton"], atol=1e-5, rtol=0)
    assert reports["torch"].loss_first == pytest.approx(reports["triton"].loss_first, rel=1e-5)
    assert reports["torch"].loss_last == pytest.approx(reports["triton"].loss_last, rel=1e-3)
    for by_torch, by_triton in zip(learnt["torch"], learnt["triton"], strict=True):
        assert by_torch == pytest.approx(by_triton, abs=0.03)  # two of 72 test images
