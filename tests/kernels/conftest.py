"""One suite for both: on a machine with CUDA the kernels run there, elsewhere in Triton's interpreter."""

import pytest
import torch

from mygo_edge.kernels.exactness import set_exact_arithmetic


@pytest.fixture(scope="session")
def device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    set_exact_arithmetic()  # as a run does: TF32 would be off by more than the tests allow
    torch.use_deterministic_algorithms(False)
    return torch.device("cuda", 0)


@pytest.fixture
def poisoned():
    """Fill what PyTorch allocates with NaN, or the largest integer, so that a pixel never written is found."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)
