"""What a dream is made from, in numpy: the twin of `mygo_edge.kernels.dream.dream_noise`, with the same layout."""

import math

import numpy as np
from numpy.typing import NDArray

from mygo_edge.kernels.philox import below, open_unit, philox4x32, split_seed


def dream_noise(
    samples: NDArray[np.int64], classes: int, latent: int, *, seed: int, stream: int, step: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Latent normals and class ids of samples, equal to those on the machine that learns.

    Args:
        samples: int64 [batch], the samples' indices in [0, 2^32).
        classes: number of classes of the task.
        latent: number of normals a sample, a multiple of 4.

    Returns:
        z [batch, latent] float32 and class ids [batch] int64. The integers are exact on every machine; z follows Box
        and Muller (1958) with the platform's log, cos and sin, so its last bits may differ.
    """
    key = split_seed(seed)
    decisions = philox4x32((samples, 0, step, stream), key)
    blocks = np.arange(1, latent // 4 + 1)
    words = np.stack(philox4x32((samples[:, None], blocks, step, stream), key), -1)  # [batch, blocks, 4]
    uniform = open_unit(words).astype(np.float32) * np.float32(2.0**-24)  # exact
    radius = np.sqrt(np.float32(-2.0) * np.log(uniform[..., 0::2]))
    angle = np.float32(2.0 * math.pi) * uniform[..., 1::2]
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(len(samples), latent)
    return z, below(decisions[0], classes)
