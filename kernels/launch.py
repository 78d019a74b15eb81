"""A kernel's launch as a value, so that the same launch can run, be compiled without a GPU, or be counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

MOST_PROGRAMS = 65_535  # along the second and third axis of a grid, on every card; along the first 2^31 - 1


@dataclass(frozen=True, slots=True)
class Launch:
    """A Triton kernel, its grid, its positional arguments (tensors, numbers and named tuples of them) and its options:
    constants by name, `num_warps`, `num_stages`, `enable_fp_fusion`.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def run(self) -> None:
        self.kernel[self.grid](*self.arguments, **self.options)

    @property
    def name(self) -> str:
        return self.kernel.__name__.strip("_").removesuffix("_kernel")

    @property
    def blocks(self) -> int:
        """Number of programs."""
        product = 1
        for size in self.grid:
            product *= size
        return product


def target_of(device: torch.device) -> int:
    """The compute capability, 90 for 9.0, of a CUDA device; 0 for Triton's interpreter on a CPU."""
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
