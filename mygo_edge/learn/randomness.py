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


def shift(images: Tensor, offsets: Tensor) -> Tensor:
    """Every image moved by its own offset, the border repeated.

    Args:
        images: [batch, channels, height, width].
        offsets: int64 [2, batch], rows and columns.
    """
    batch, channels, height, width = images.shape
    rows = (torch.arange(height, device=images.device) + offsets[0][:, None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) + offsets[1][:, None]).clamp_(0, width - 1)
    moved = images.gather(2, rows[:, None, :, None].expand(batch, channels, height, width))
    return moved.gather(3, columns[:, None, None, :].expand(batch, channels, height, width))


def shift_pixels(share: float, images: Tensor) -> int:
    """The largest shift in pixels, for a share of the image's shorter side."""
    return round(share * min(images.shape[2:]))


def random_shift(images: Tensor, share: float, source: torch.Generator) -> Tensor:
    """Images [batch, channels, height, width], each moved at random by up to `share` of its side."""
    most = shift_pixels(share, images)
    if most == 0:
        return images
    size = (2, len(images))
    return shift(images, torch.randint(-most, most + 1, size, generator=source, device=images.device))
