"""A kernel that writes the noise out, which the kernels of dreams never do."""

import numpy as np
import torch
import triton
import triton.language as tl

from mygo_edge.kernels.layout import position_of
from mygo_edge.kernels.noise_triton import normals_of_blocks, sample_words


@triton.jit
def _noise_kernel(words_ptr, z_ptr, position_ptr, samples_ptr, batch, first, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = rows < batch
    samples = tl.load(samples_ptr + rows, mask=there, other=0)
    seed, stream, index, step = sample_words(position_ptr, samples)
    zeros = tl.zeros_like(index)
    w0, w1, w2, w3 = tl.philox(seed, index, zeros, step, zeros + stream)
    tl.store(words_ptr + rows, w0.to(tl.int64), mask=there)
    tl.store(words_ptr + batch + rows, w1.to(tl.int64), mask=there)
    tl.store(words_ptr + 2 * batch + rows, w2.to(tl.int64), mask=there)
    tl.store(words_ptr + 3 * batch + rows, w3.to(tl.int64), mask=there)
    n0, n1, n2, n3 = normals_of_blocks(seed, stream, index, step, first, BLOCKS)
    out = z_ptr + rows[:, None] * (4 * BLOCKS) + 4 * tl.arange(0, BLOCKS)[None, :]
    tl.store(out, n0, mask=there[:, None])
    tl.store(out + 1, n1, mask=there[:, None])
    tl.store(out + 2, n2, mask=there[:, None])
    tl.store(out + 3, n3, mask=there[:, None])


def noise_in_triton(samples, latent, *, seed, stream, step, device, first=1) -> tuple[np.ndarray, np.ndarray]:
    """Decision words [4, batch] and z [batch, latent]: the normals of the blocks from `first` on."""
    batch = len(samples)
    words = torch.empty((4, batch), dtype=torch.int64, device=device)
    z = torch.full((batch, latent), float("nan"), device=device)
    _noise_kernel[(triton.cdiv(batch, 32),)](
        words, z, position_of(seed, stream, step, device), torch.from_numpy(samples).to(device), batch, first,
        BLOCK=32, BLOCKS=latent // 4, enable_fp_fusion=False,
    )  # fmt: skip
    return words.cpu().numpy(), z.cpu().numpy()
