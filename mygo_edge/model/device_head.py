"""Heads that devices learnt: what identifies the trunk that they stand on, and how they come back to the box."""

import hashlib
from collections.abc import Sequence

from mygo_edge.model.network import NeocortexNet


def trunk_digest(net: NeocortexNet, mean: Sequence[float], std: Sequence[float]) -> str:
    """SHA-256 of everything that features of an image are computed from: its shape, mean and std, and the extractor.

    It does not change when heads are added or trained, and changes with every sleep that moves the features.
    """
    numbers = [float(value) for value in (*mean, *std)]
    digest = hashlib.sha256(repr((tuple(net.shape), numbers)).encode())
    for name, value in sorted(net.features.state_dict().items()):
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
