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
    for power, normalised in ((0.5, False), (1.0, False), (1.0, True)):
        stack = gaussian_stack(70, (2, 3), power=power, normalised=normalised, device=device)
        assert disagreement(stack, dtype) == ""


@pytest.fixture
def calls(monkeypatch):
    """Sizes of the batches that the kernels dreamt."""
    sizes, run = [], dream_triton.dream_triton

    def counted(stack, layout, *rest):
        sizes.append(len(layout.samples))
        return run(stack, layout, *rest)

    monkeypatch.setattr(dream_triton, "dream_triton", counted)
    return sizes


def test_kernels_that_agree_run_and_are_asked_once(stack, automatic, calls):
    for _ in range(2):
        dreaming.dream(stack, [4, 1, 0], **KEY)
    assert calls == [6, 5, 5]  # the tiny batch, and then each call's


@pytest.mark.parametrize("changed", ["card", "driver", "triton"])
def test_another_card_driver_or_version_is_asked_anew(changed, stack, automatic, calls, monkeypatch):
    dreaming.dream(stack, [4, 1, 0], **KEY)
    before = agreement.surroundings(stack.base_weight.device)
    if changed == "card":
        monkeypatch.setattr(agreement, "surroundings", lambda device: ("another card", *before[1:]))
    elif changed == "driver":
        monkeypatch.setattr(agreement, "driver_version", lambda: "another driver")
    else:
        monkeypatch.setattr(agreement, "_versions", lambda: (torch.__version__, "3.99"))
    for _ in range(2):
        dreaming.dream(stack, [4, 1, 0], **KEY)
    assert calls == [6, 5, 6, 5, 5]


def test_the_driver_says_its_version_where_there_is_one(tmp_path, monkeypatch):
    said = tmp_path / "version"
    said.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06\nGCC version: 12\n")
    for path, expected in ((said, "580.65.06"), (tmp_path / "none", "")):
        agreement.driver_version.cache_clear()
        monkeypatch.setattr(agreement, "DRIVER", path)
        assert agreement.driver_version().endswith(expected)
        assert bool(agreement.driver_version()) == bool(expected)
    agreement.driver_version.cache_clear()


def test_the_same_form_on_another_card_of_the_machine_has_a_verdict_of_its_own(monkeypatch):
    class Card:
        name, major, minor = "NVIDIA H100 80GB HBM3", 9, 0

        def __init__(self, device):
            self.uuid = f"GPU-{device.index}"

    monkeypatch.setattr(torch.cuda, "get_device_properties", Card)
    first, second = (agreement.surroundings(torch.device("cuda", index)) for index in range(2))
    assert first[0] == second[0]
    assert first != second


@pytest.mark.parametrize("setting", ["older", "newer", "all"])
def test_the_comparison_is_exact_whatever_the_program_set_and_leaves_it_as_it_was(setting):
    code = f"""
import torch
from mygo_edge.kernels.exactness import single_precision
cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
if {setting!r} == "older":
    cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
elif {setting!r} == "newer":
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32"
else:
    torch.set_float32_matmul_precision("highest")
now = lambda: [part.fp32_precision for part in (cudnn.conv, cudnn.rnn, matmul)]
older = lambda: (cudnn.allow_tf32, torch.get_float32_matmul_precision(), cudnn.deterministic, cudnn.benchmark)
before = now(), older()
with single_precision():
    assert now() == ["ieee"] * 3, now()
    assert older() == (False, "highest", True, False), older()
assert (now(), older()) == before, (now(), older(), before)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
torch.backends.fp32_precision = "tf32"  # what a program sets for everything else
assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"
assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
