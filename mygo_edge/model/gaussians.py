"""A task's second memory: a few Gaussians a class, in the plane of pixels where the task varies most.

Mixtures of Gaussians cover all that a class looks like and blur its details; a GAN draws details and leaves out what is
rare (Richardson & Weiss 2018). A sleep dreams of both. They stay on the machine that learns: devices get the generator.
"""

import torch
from torch import Tensor, nn

from mygo_edge.kernels.philox import WORD


class Gaussians(nn.Module):
    """Normals, class ids and a word of 32 random bits -> images in [-1, 1].

    Buffers, with K Gaussians a class and an image of P = channels x height x width values:
        mean: [P], of the task. basis: [plane, P], orthonormal rows.
        centres: [classes, K, plane]; factors: [classes, K, normals, plane]: a Gaussian is centre + normals @ factor.
        bounds: int64 [classes, K], where the share of each Gaussian ends among the 2^32 words.
        chosen: int64, how many of 2^32 dreams of the task are these.
    """

    mean: Tensor
    basis: Tensor
    centres: Tensor
    factors: Tensor
    bounds: Tensor
    chosen: Tensor

    def __init__(
        self, mean: Tensor, basis: Tensor, centres: Tensor, factors: Tensor, bounds: Tensor, chosen: Tensor
    ) -> None:
        super().__init__()
        for name, value in locals().copy().items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value.detach().clone())

    def forward(self, z: Tensor, class_ids: Tensor, words: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Images [batch, *shape] from z [batch, 64], class ids and words, int64 [batch]; in single precision, inside of
        mixed precision, too, so that dreams are the same.
        """
        with torch.autocast(z.device.type, enabled=False):
            return self._images(z, class_ids, words).unflatten(1, shape)

    def _images(self, z: Tensor, class_ids: Tensor, words: Tensor) -> Tensor:
        """Images [batch, values]."""
        places = (words[:, None] >= self.bounds[class_ids]).sum(1)  # [batch], which Gaussian of the class
        each = self.bounds.shape[1]
        points = self.centres[class_ids, places]  # [batch, plane]
        z = z[:, : self.factors.shape[2]]
        for index in range(self.bounds.numel()):
            rows = (class_ids * each + places == index).nonzero()[:, 0]
            points[rows] += z[rows] @ self.factors[index // each, index % each]
        return torch.addmm(self.mean, points, self.basis).clamp_(-1, 1)


def share_of_words(share: float) -> Tensor:
    """How many of the 2^32 words fall below `share`, a number from 0 to 1."""
    return torch.tensor(round(share * (WORD + 1)))
