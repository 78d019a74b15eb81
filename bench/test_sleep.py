"""What a step of the sleep costs, against other ways to take it and against the number of tasks."""

from functools import lru_cache
from typing import Any

import pytest
import torch

from bench.conftest import Measure
from bench.contenders.sleeping import WAYS, SleepCase, launches
from mygo_edge.options import SleepOptions

BATCHES = (128, 512, 4096)
TASKS = (5, 10, 20, 50, 100, 200)
FIXED_BATCH = 256  # over all tasks


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = metafunc.config.getoption("quick")
    if "batch" in metafunc.fixturenames:
        metafunc.parametrize("batch", BATCHES[:1] if quick else BATCHES)
        metafunc.parametrize("name", [way for way in WAYS if not (quick and way == "compiled")])
    else:
        metafunc.parametrize("name", TASKS[:3:2] if quick else TASKS)


case_of = lru_cache(maxsize=1)(SleepCase)


@pytest.fixture
def ahead_megabytes(request: pytest.FixtureRequest) -> float:
    """The learner's default; less where time is short, for what is made ahead is timed as a whole."""
    return 4.0 if request.config.getoption("quick") else SleepOptions().ahead_megabytes


def test_step(
    measure: Measure, benchmark: Any, device: torch.device, ahead_megabytes: float, batch: int, name: str
) -> None:
    case = case_of(5, batch, device, ahead_megabytes)
    measure(
        case.way,
        group=f"sleep step, 5 tasks, {batch} dreams",
        baseline="loop",
        suite="sleep",
        tasks=5,
        batch=batch,
        samples=batch,
        **case.least(),
    )
    if device.type == "cuda" and name != "compiled":  # it would be compiled again
        benchmark.extra_info["launches"] = launches(case.way(name))


def test_tasks(measure: Measure, device: torch.device, ahead_megabytes: float, name: int) -> None:
    """The number of tasks is the name."""
    way = "graph" if device.type == "cuda" else "ahead"
    measure(
        lambda tasks: SleepCase(tasks, FIXED_BATCH, device, ahead_megabytes).way(way),
        group=f"sleep step against tasks, {FIXED_BATCH} dreams over all",
        baseline=str(TASKS[0]),
        suite="tasks",
        tasks=name,
        batch=FIXED_BATCH,
        samples=FIXED_BATCH,
    )
