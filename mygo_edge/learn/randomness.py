"""All randomness of learning from real data, as a pure function of names and numbers: nothing to save for a resume."""

from hashlib import blake2b

import torch
from torch import Tensor


def derived_seed(*names: str | int) -> int:
    """A 63-bit seed that depends on every name and number given."""
    return int.from_bytes(blake2b(repr(names).encode(), digest_size=8).digest(), "big") >> 1


def generator(device: torch.device, *names: str | int) -> torch.Generator:
    """A generator on `device`, seeded by `derived_seed`."""
    return torch.Generator(device).manual_seed(derived_seed(*names))


class Batches:
    """Shuffled batches of indices: `batches(step)` depends on the names and the step alone.

    The last, partial batch of an epoch is left out.
    """

    def __init__(self, samples: int, batch_size: int, device: torch.device, *names: str | int) -> None:
        self.samples, self.batch_size = samples, min(batch_size, samples)
        self.per_epoch = samples // self.batch_size
        self._names, self._device = names, device
        self._epoch, self._order = -1, torch.empty(0)

    def __call__(self, step: int) -> Tensor:
        """Indices of step `step`, int64 [batch]."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            source = generator(self._device, *self._names, "epoch", epoch)
            self._epoch = epoch
            self._order = torch.randperm(self.samples, generator=source, device=self._device)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]
