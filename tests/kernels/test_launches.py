"""What reaches a driver: Triton's own launcher runs, in front of a stand-in for the driver. No GPU is needed."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mygo_edge.kernels import layout as layouts
from mygo_edge.kernels.dream import dream
from mygo_edge.kernels.launch import MOST_PROGRAMS
from mygo_edge.kernels.layout import layout_of_counts, position_of
from mygo_edge.kernels.stack import GeneratorStack
from tests.kernels.stacks import gaussian_stack

ROOT = Path(__file__).parents[2]
META = torch.device("meta")


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    pytest.importorskip("triton")
    if shutil.which("cc") is None:
        pytest.skip("Triton's launcher is built with a C compiler, and there is none")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    words = [sys.executable, "-m", "tests.kernels.launching", str(tmp_path_factory.mktemp("driver"))]
    run = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_every_kernel_is_launched_with_the_arguments_that_were_meant(launched):
    assert {row["kernel"] for row in launched} == {"base", "upsample", "image", "perceptron", "gaussian"}
    for row in launched:
        assert row["wrong"] == [], row
        assert row["parameters"] == row["meant_parameters"], row


def test_every_kernel_is_launched_on_the_grid_and_with_the_shared_memory_that_were_meant(launched):
    for row in launched:
        assert row["grid"] == row["meant_grid"], row
        assert row["block"] == [32 * row["warps"], 1, 1], row
        assert row["shared"] == row["meant_shared"], row


def grids(stack: GeneratorStack, counts, steps=1):
    """Grids of everything that is launched for a card, without memory for any of it."""
    pytest.importorskip("triton")
    from mygo_edge.kernels.dream_triton import launches

    layout = layout_of_counts(counts, steps, (0, 1), torch.device("cpu"))
    layout = replace_tensors(layout)
    batch = len(layout.samples)
    answer = torch.empty((batch, *stack.dream_shape), device=META), layout.samples, torch.empty((2, batch), device=META)
    return [launch.grid for launch in launches(stack, layout, torch.empty(3, device=META), answer, 90)]


def replace_tensors(layout):
    return layout._replace(
        task_ids=layout.task_ids.to(META),
        samples=layout.samples.to(META),
        order=None if layout.order is None else layout.order.to(META),
    )


def convolutional(side, tasks, channels=(64, 32, 1)):
    first, second, last = channels
    size = side // 4
    return GeneratorStack(
        "convolutional",
        base_weight=torch.empty((tasks, 64, size * size * first), device=META),
        class_bias=torch.empty((2 * tasks, size * size * first), device=META),
        class_offsets=torch.arange(0, 2 * tasks + 1, 2),
        base_size=(size, size),
        weights=[
            torch.empty((tasks, first, second, 4, 4), device=META),
            torch.empty((tasks, second, last, 4, 4), device=META),
        ],
        biases=[torch.empty((tasks, second), device=META), torch.empty((tasks, last), device=META)],
    )


@pytest.mark.parametrize(
    ("what", "counts", "steps"),
    [
        (convolutional(1024, 1, (64, 32, 3)), (2,), 1),  # few dreams, of many positions
        (convolutional(8, 200, (4, 2, 1)), (1000,) * 200, 8),  # many tiles of few positions
    ],
    ids=["large images", "many small ones"],
)
def test_no_grid_is_larger_than_a_card_allows(what, counts, steps):
    for grid in grids(what, counts, steps):
        assert all(size <= MOST_PROGRAMS for size in grid[1:])


def test_a_gaussian_batch_of_two_million_fits_a_grid():
    stack = gaussian_stack(8, (1, 1), latent=4)
    stack = replace(stack, base_weight=stack.base_weight.to(META), deviation=stack.deviation.to(META))
    ((tiles, parts),) = grids(stack, (2**20, 2**20))
    assert tiles == 2**21 // 16 > MOST_PROGRAMS >= parts


def test_what_a_captured_graph_reads_is_neither_copied_from_the_host_nor_let_go(monkeypatch):
    stack = gaussian_stack(8, (1, 1), latent=4)
    usual = dream(stack, [2, 1], seed=3, stream=1, step=2)
    held = []
    monkeypatch.setattr(layouts, "_read_by_graphs", held)
    dream(stack, [2, 1], seed=3, stream=1, step=2)
    assert held == []
    monkeypatch.setattr(layouts, "capturing", lambda device: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", None)
    monkeypatch.setattr(torch, "tensor", None)  # what would make memory of the host's
    assert torch.equal(dream(stack, [2, 1], seed=3, stream=1, step=2).images, usual.images)
    monkeypatch.undo()
    assert any(read is layout_of_counts((2, 1), 1, (0, 1), torch.device("cpu")) for read in held)


def test_a_position_is_the_same_by_whatever_way_it_gets_to_the_device(monkeypatch):
    words = (2**64 - 5, 2**32 - 1, 7)
    usual = position_of(*words, torch.device("cpu"))
    monkeypatch.setattr(layouts, "capturing", lambda device: True)
    assert torch.equal(position_of(*words, torch.device("cpu")), usual)
