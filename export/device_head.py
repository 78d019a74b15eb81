"""Heads that devices learnt: what identifies the trunk that they stand on, and how they come back to the box."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from mygo_edge.bundle.heads import Head, HeadError, read_head
from mygo_edge.export.folding import device_features, device_width
from mygo_edge.model.network import NeocortexNet


def trunk_digest(net: NeocortexNet, mean: Sequence[float], std: Sequence[float]) -> str:
    """SHA-256 of everything that features of an image are computed from: its shape, mean and std, and the extractor.

    It does not change when heads are added or trained, and changes with every sleep that moves the features.
    """
    numbers = [float(value) for value in (*mean, *std)]
    digest = hashlib.sha256(repr((tuple(net.shape), numbers)).encode())
    for name, value in sorted(device_features(net).state_dict().items()):
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_device_head(
    path: Path, net: NeocortexNet, mean: Sequence[float], std: Sequence[float]
) -> tuple[Head, nn.Linear]:
    """Read a head that a device sent back, as a layer on `mygo_edge.export.folding.device_features(net)`.

    Args:
        path: the file that the device keeps in its folder of heads.
        net: the network that the device's version was published from.
        mean, std: of a channel, as they were published.

    Raises:
        HeadError: the file is damaged, or was learnt on another trunk.
    """
    head = read_head(path)
    if head.trunk != trunk_digest(net, mean, std):
        raise HeadError(f"{path} was learnt on another trunk than this network's; take the network that was published")
    width = device_width(net)
    if head.weight.shape[1] != width:
        raise HeadError(f"{path} takes {head.weight.shape[1]} features, this network has {width}")
    layer = nn.Linear(width, len(head.classes))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))
    return head, layer
