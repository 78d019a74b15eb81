"""Settings of PyTorch on CUDA that exact and repeatable results need: for a run, the tests and the benchmarks alike."""

import os

import torch


def set_exact_arithmetic() -> None:
    """fp32 means fp32, and the same inputs give the same bits.

    Matrix products and convolutions keep to single precision instead of TF32; cuDNN chooses its algorithms without
    timing them; and cuBLAS has the workspace with which its results do not depend on the number of streams (NVIDIA's
    documentation of CUBLAS_WORKSPACE_CONFIG; a value that is set already is kept). Operations of PyTorch that have no
    deterministic form warn instead of ending a run. To be called before the first product on a card.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Would be a kernel for every new tensor, and none is read unset.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
