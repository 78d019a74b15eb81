"""Where nobody asked for a backend, kernels run only after they agreed with PyTorch on the card at hand."""

import logging
import re
import subprocess
import sys

import pytest
import torch

from mygo_edge.kernels import agreement, dream_triton
from mygo_edge.kernels import dream as dreaming
from mygo_edge.kernels.agreement import disagreement
from mygo_edge.kernels.backend import Choice
from tests.kernels.stacks import gaussian_stack, memory_of

KEY = {"seed": 3, "stream": 2, "step": 5}


@pytest.fixture
def automatic(monkeypatch):
    """As on a machine with CUDA and no wish: Triton would be chosen."""
    monkeypatch.setattr(dreaming, "choose_backend", lambda asked, device: Choice("triton", "CUDA is there", False))
    monkeypatch.setattr(agreement, "_verdicts", {})


@pytest.fixture
def stack(device):
    return memory_of((1, 8, 9), (2, 3, 2), kind="perceptron", device=device).stack


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_of_every_kind_agree(dtype, device):
    for kind in ("convolutional", "perceptron"):
        assert disagreement(memory_of((1, 8, 9), (2, 3), kind=kind, device=device).stack, dtype) == ""
    for power in (0.5, 1.0):
        assert disagreement(gaussian_stack(70, (2, 3), power=power, device=device), dtype) == ""


def test_kernels_that_agree_run_and_are_asked_once(stack, automatic, monkeypatch):
    calls, run = [], dream_triton.dream_triton

    def counted(stack, layout, *rest):
        calls.append(len(layout.samples))
        return run(stack, layout, *rest)

    monkeypatch.setattr(dream_triton, "dream_triton", counted)
    for _ in range(2):
        dreaming.dream(stack, [4, 1, 0], **KEY)
    assert calls == [6, 5, 5]  # the tiny batch, and then each call's


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("images", r"off by \d"),
        ("nan", "off by nan"),
        ("ids", "class ids or decisions are not those of PyTorch"),
        ("error", "RuntimeError: out of resources"),
    ],
)
def test_kernels_that_are_wrong_here_are_not_used_and_the_log_says_why_once(
    fault, reason, stack, automatic, monkeypatch, caplog
):
    run = dream_triton.dream_triton

    def wrong(*arguments):
        if fault == "error":
            raise RuntimeError("out of resources\nmore of it")
        images, class_ids, decisions = run(*arguments)
        if fault == "ids":
            return images, class_ids + 1, decisions
        return images + (1e-3 if fault == "images" else float("nan")), class_ids, decisions

    monkeypatch.setattr(dream_triton, "dream_triton", wrong)
    with caplog.at_level(logging.WARNING):
        found = [dreaming.dream(stack, [4, 1, 0], **KEY).images for _ in range(2)]
    (record,) = caplog.records
    assert re.search(reason, record.message)
    monkeypatch.undo()
    assert all(torch.equal(images, dreaming.dream(stack, [4, 1, 0], **KEY, backend="torch").images) for images in found)


def test_an_exact_run_keeps_to_single_precision_and_to_deterministic_algorithms():
    code = """
import os, torch
from mygo_edge.kernels.exactness import set_exact_arithmetic
set_exact_arithmetic()
assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
