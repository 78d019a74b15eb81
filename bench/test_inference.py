"""Latency of a classification: PyTorch, a plain export, and the bundle's graphs in every precision."""

from functools import lru_cache

import pytest
import torch

from bench.conftest import Measure
from bench.contenders.inference import WAYS, InferenceCase, Learnt

BATCHES = (1, 32, 256)
THREADS = (1, 2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = metafunc.config.getoption("quick")
    metafunc.parametrize("threads", THREADS[:1] if quick else THREADS)
    metafunc.parametrize("batch", BATCHES[:2] if quick else BATCHES)
    metafunc.parametrize("name", [way for way in WAYS if not (quick and way == "compiled")])


case_of = lru_cache(maxsize=1)(InferenceCase)


@pytest.fixture(autouse=True)
def threads_as_before() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_classify(measure: Measure, learnt: Learnt, batch: int, threads: int, name: str) -> None:
    case = case_of(learnt, batch, threads)
    measure(
        case.way,
        group=f"classify, batch {batch}, {threads} thread{'s' * (threads > 1)}",
        baseline="eager",
        suite="inference",
        batch=batch,
        samples=batch,
        threads=threads,
        **case.least(),
    )
