"""How much memory a phase takes at most: all that the process holds in RAM, and what PyTorch holds on a GPU."""

from collections.abc import MutableMapping

import torch

from mygo_edge.resident import forget_peak, peak_bytes

Peaks = MutableMapping[str, dict[str, int]]  # "resident" and "gpu" -> what a phase counts as -> bytes


def new_peaks() -> Peaks:
    """Of a method before its first phase."""
    return {"resident": {}, "gpu": {}}


def begin_peaks(device: torch.device) -> None:
    """Forget the peaks so far."""
    forget_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def note_peaks(peaks: Peaks, account: str, device: torch.device) -> None:
    """Add the peaks since `begin_peaks` to what a phase counts as: the largest of all such phases is kept."""
    found = {
        "resident": peak_bytes(),
        "gpu": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }
    for where, count in found.items():
        if count is not None:
            peaks[where][account] = max(count, peaks[where].get(account, 0))
