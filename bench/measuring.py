"""What the measurements share: timing, memory, what the machine can do at best, and what a number must be read with."""

import csv
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def clock(device: torch.device) -> float:
    """Seconds. On CUDA wall time once the device is done; on a CPU processor time of this process, so that other work
    on the machine hardly counts (measure with one thread).
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def milliseconds(
    work: Callable[[], object], device: torch.device, repeats: int = 20, seconds: float = 2.0
) -> list[float]:
    """Times of `work`, after two calls to warm up: `repeats`, or as many (three at least) as fit in the seconds."""
    times = []
    for number in range(repeats + 2):
        started = clock(device)
        work()
        times.append((clock(device) - started) * 1e3)
        if number >= 4 and sum(times) > seconds * 1e3:
            break
    return times[2:]


def quantiles(values: list[float]) -> dict[str, Any]:
    """Median and 20 and 80 % quantiles of milliseconds."""
    ordered = torch.tensor(values, dtype=torch.float64)
    low, middle, high = (float(ordered.quantile(share)) for share in (0.2, 0.5, 0.8))
    return {"ms": middle, "ms_20": low, "ms_80": high, "repeats": len(values)}


class PeakMemory:
    """Context: peak memory in `megabytes`, of the process (Linux), or of PyTorch's allocator on CUDA."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.megabytes = device, 0.0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # begin a new high-water mark
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.megabytes = torch.cuda.max_memory_allocated() / 1e6
        else:
            lines = Path("/proc/self/status").read_text().splitlines()
            self.megabytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second of a large copy, reads and writes counted, best of several."""
    size = 2**32 if device.type == "cuda" else 2**27
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / (min(milliseconds(lambda: target.copy_(source), device)) / 1e3)


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a large square matrix product, best of several."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / (min(milliseconds(lambda: a @ b, device)) / 1e3)


def surroundings(device: torch.device, beside: str) -> dict[str, Any]:
    """What a number must be read with; `beside` says what else ran."""
    cpu = [line.split(":")[1].strip() for line in _cpuinfo() if "model name" in line]
    name = torch.cuda.get_device_name() if device.type == "cuda" else (cpu or [platform.machine()])[0]
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "clock": "wall" if device.type == "cuda" else "processor time of the process",
        "beside": beside,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def write_table(rows: list[dict[str, Any]], document: dict[str, Any], out: Path, name: str) -> None:
    """NAME.json with the whole document and NAME.csv with its rows, in the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
