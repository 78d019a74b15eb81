"""What a step of a task's GAN costs, the longest part of a run on a CPU."""

import pytest
import torch

from bench.conftest import Measure
from bench.contenders.memory import WAYS, MemoryCase


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = metafunc.config.getoption("quick")
    metafunc.parametrize("name", [way for way in WAYS if not (quick and way == "compiled")])


def test_step(measure: Measure, device: torch.device, name: str) -> None:
    case = MemoryCase(device)
    measure(
        case.way,
        group="GAN step",
        baseline=WAYS[0],
        suite="memory",
        samples=1,
        **case.least(),
    )
