"""Settings of PyTorch on CUDA that exact and repeatable results need: for a run, the tests and the benchmarks alike."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def set_exact_arithmetic() -> None:
    """fp32 means fp32, and the same inputs give the same bits.

    Matrix products and convolutions keep to single precision instead of TF32; cuDNN chooses its algorithms without
    timing them; and cuBLAS has the workspace with which its results do not depend on the number of streams (NVIDIA's
    documentation of CUBLAS_WORKSPACE_CONFIG; a value that is set already is kept). Operations of PyTorch that have no
    deterministic form warn instead of ending a run. To be called before the first product on a card: PyTorch and cuBLAS
    read that variable once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    _keep_to_single_precision()
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Would be a kernel for every new tensor, and none is read unset.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def single_precision() -> Iterator[None]:
    """Products and convolutions on CUDA without TF32, and cuDNN's deterministic algorithms; then as it was before.

    `torch.backends.cudnn.flags` would do for the convolutions, but forgets what was set by operation.

    Raises:
        RuntimeError: the program has set PyTorch's older and newer settings of TF32 to contradict each other.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    parts: list[Any] = [cudnn.conv, cudnn.rnn, matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    older = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    newer = [part.fp32_precision for part in parts]
    how = cudnn.deterministic, cudnn.benchmark
    _keep_to_single_precision()
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.allow_tf32 = older[0]
        torch.set_float32_matmul_precision(older[1])
        for part, precision in zip(parts, newer, strict=True):
            part.fp32_precision = precision
        cudnn.deterministic, cudnn.benchmark = how


def _keep_to_single_precision() -> None:
    """By PyTorch's older settings, which are read in many places, and then by its newer ones: the older leave open what
    `torch.backends.fp32_precision` may decide otherwise. Alone, either of them makes the other's readers complain.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    parts: tuple[Any, ...] = (cudnn.conv, cudnn.rnn, matmul)  # type: ignore[attr-defined]
    for part in parts:
        part.fp32_precision = "ieee"
