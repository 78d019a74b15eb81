"""The backend that was asked for runs, or the reason why not is told."""

import subprocess
import sys

import pytest
import torch

from mygo_edge.kernels.backend import VARIABLE, BackendError, choose_backend


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_the_argument_goes_over_the_variable_and_the_variable_over_auto(monkeypatch):
    assert choose_backend(None, "cpu").name == choose_backend("auto", "cpu").name == "torch"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv(VARIABLE, "triton")
    assert choose_backend(None, "cpu") == ("triton", f"asked for by {VARIABLE}", True)
    assert choose_backend("torch", "cpu").name == "torch"


def test_a_backend_that_cannot_run_raises_with_the_reason(monkeypatch):
    with pytest.raises(BackendError, match="on cpu, where Triton runs only as an interpreter"):
        choose_backend("triton", "cpu")
    monkeypatch.setenv(VARIABLE, "triton")
    with pytest.raises(BackendError, match=f"{VARIABLE} asks for triton"):
        choose_backend(None, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_cuda_its_absence_is_the_reason():
    with pytest.raises(BackendError, match="no usable CUDA device"):
        choose_backend("triton", "cuda")
    assert choose_backend("auto", "cuda") == ("torch", "this machine has no usable CUDA device", False)


def test_an_unknown_backend_is_refused_by_name():
    with pytest.raises(BackendError, match="'cutlass'; it must be one of auto, torch, triton"):
        choose_backend("cutlass", "cpu")


def test_the_package_is_imported_without_torch_and_the_operators_without_triton():
    code = """
import sys
import mygo_edge.kernels, mygo_edge.kernels.philox
assert "torch" not in sys.modules
import torch
with_torch = set(sys.modules)
import mygo_edge.kernels.backend, mygo_edge.kernels.dream
assert not [name for name in set(sys.modules) - with_torch if name.split(".")[0] == "triton"]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
