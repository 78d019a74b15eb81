"""Dreams a second: what one would otherwise write, and ours, from 1 to 50 tasks."""

from functools import lru_cache

import pytest
import torch

from bench.conftest import Measure
from bench.contenders.dreams import WAYS, DreamCase

KINDS = ("convolutional", "perceptron")
TASKS = {"cpu": (1, 5, 50), "cuda": (5, 50, 1)}  # on a card the most telling first, for its time is limited
BATCHES = {"cpu": (1, 128, 4096), "cuda": (2**20, 128, 4096, 1)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = metafunc.config.getoption("quick")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    metafunc.parametrize("kind", KINDS)
    metafunc.parametrize("tasks", (5,) if quick else TASKS[device])
    metafunc.parametrize("batch", (1, 128) if quick else BATCHES[device])
    # Last, so that the ways of a group come together.
    metafunc.parametrize("name", [way for way in WAYS if not (quick and way == "compiled")])


case_of = lru_cache(maxsize=1)(DreamCase)


def test_dreams(measure: Measure, device: torch.device, kind: str, tasks: int, batch: int, name: str) -> None:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    case = case_of(kind, tasks, batch, device, dtype)
    measure(
        case.way,
        group=f"{kind} dreams, {tasks} task{'s' * (tasks > 1)}, {case.samples} a call",
        baseline="loop",
        suite="dreams",
        kind=kind,
        tasks=tasks,
        batch=batch,
        samples=case.samples,
        dtype=str(dtype).removeprefix("torch."),
        **case.least(),
    )
