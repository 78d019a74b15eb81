"""What a dream is made from, on the device: numpy's side of `mygo_edge.kernels.noise`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.kernels.noise import dream_noise as noise_of
from mygo_edge.kernels.noise import feature_noise as feature_noise_of


def dream_noise(
    samples: NDArray[np.int64], classes: int, latent: int, *, seed: int, stream: int, step: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """z [batch, latent] float32 and class ids [batch] int64, equal bit for bit to those of the machine that learns.

    Args:
        samples: int64 [batch], the samples' indices in [0, 2^32).
        classes: number of classes of the task.
        latent: number of normals a sample.
    """
    z: Any
    z, class_ids, _ = noise_of(samples, classes, latent, seed=seed, stream=stream, step=step, xp=np)
    return z, class_ids


def feature_noise(
    samples: NDArray[np.int64], width: int, latent: int, *, seed: int, stream: int, step: int
) -> NDArray[np.float32]:
    """Further normals of the same samples, [batch, width] float32: what each feature of a Gaussian's dream gets.

    The other arguments are those of `dream_noise`.
    """
    noise: NDArray[np.float32] = feature_noise_of(
        samples, width, seed=seed, stream=stream, step=step, xp=np, latent=latent
    )
    return noise
