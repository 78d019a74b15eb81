"""What the measurements share: timing, memory, what the machine can do at best, and what a number must be read with."""

import ctypes
import gc
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch


def fastest(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Seconds of the fastest of several calls, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[2:])


class PeakMemory:
    """Context: how many `megabytes` it needed at most besides what was there, of the process (Linux), or of PyTorch's
    allocator on CUDA.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.megabytes, self._before = device, 0.0, 0.0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() / 1e6
        else:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
            Path("/proc/self/clear_refs").write_text("5")  # begin a new high-water mark
            self._before = _memory("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        peak = torch.cuda.max_memory_allocated() / 1e6 if self.device.type == "cuda" else _memory("VmHWM")
        self.megabytes = peak - self._before


def _memory(kind: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e6


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second of a large copy, reads and writes counted, best of several."""
    size = 2**32 if device.type == "cuda" else 2**27
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / fastest(lambda: target.copy_(source), device)


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a large square matrix product, best of several."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / fastest(lambda: a @ b, device)


def surroundings(device: torch.device, beside: str) -> dict[str, Any]:
    """What a number must be read with; `beside` says what else ran."""
    cpu = [line.split(":")[1].strip() for line in _cpuinfo() if "model name" in line]
    name = torch.cuda.get_device_name() if device.type == "cuda" else (cpu or [platform.machine()])[0]
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in ("torch", "triton", "onnxruntime", "numpy") if find_spec(name)},
        "python": platform.python_version(),
        "beside": beside,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
