"""Inputs with their labels: as a user has them, or as a domain takes them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Split:
    """labels: int64 [n]. inputs, raw: uint8 images [n, channels, height, width] or floats in [0, 1], paths of pictures,
    or texts; prepared by a domain: float32 [n, *shape of a dream].
    """

    inputs: Any
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Prepared inputs and labels of some rows, on `device`."""
        rows = rows.to(self.labels.device)
        return self.inputs[rows].to(device), self.labels[rows].to(device)

    def of_classes(self, group: Sequence[int]) -> "Split":
        """The inputs of the classes in `group`, labels renumbered in the group's order."""
        most = int(self.labels.max()) if len(self.labels) else 0
        renumber = torch.full((max(most, *group) + 1,), -1, dtype=torch.long)
        renumber[torch.tensor(group)] = torch.arange(len(group))
        labels = renumber[self.labels]
        kept = labels >= 0
        if isinstance(self.inputs, Tensor):
            return Split(self.inputs[kept], labels[kept])
        return Split([self.inputs[row] for row in kept.nonzero()[:, 0].tolist()], labels[kept])


def fingerprint(classes: Sequence[str], *splits: Split) -> str:
    """SHA-256 of all inputs, labels and class names, to tell whether a resumed run has the same data."""
    digest = hashlib.sha256(repr(list(classes)).encode())
    for split in splits:
        digest.update(_content(split.labels))
        for part in [split.inputs] if isinstance(split.inputs, Tensor) else split.inputs:
            digest.update(_content(part))
    return digest.hexdigest()


def _content(part: Tensor | Path | str) -> bytes:
    if isinstance(part, Tensor):
        value = part.detach().cpu().contiguous()
        return repr((tuple(value.shape), value.dtype)).encode() + value.numpy().tobytes()
    data = part.read_bytes() if isinstance(part, Path) else part.encode()
    return len(data).to_bytes(8, "big") + data
