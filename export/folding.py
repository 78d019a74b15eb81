"""The classifier as devices compute it: equal to the learner's network, with less arithmetic before the answer."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mygo_edge.errors import MygoEdgeError
from mygo_edge.model.network import NeocortexNet

_LARGE = 4  # pixels of a map's side, from which on a head's features are averages over neighbours


class DeviceNet(nn.Module):
    """A network whose scaling stands in its first convolution, and whose heads stand on the maps.

    Nothing bends between the maps, the features and the heads, so heads can be multiplied into the layer before them:
    an answer then needs neither that layer's arithmetic nor its weights, which are most of the network's. Heads that
    are learnt on a device stand on the maps, too, on averages over windows of 3 x 3 where maps are large.

    features: the network's layers up to the maps, their first weights divided by 255 std; logits: all heads, one below
    the other; averages: from maps to the features of a device's head; width: of those; centre: [channels, 1, 1], what
    is taken from raw pixels first, so that the zeros at a map's border stay exact.

    Args:
        net: on any device; left as it is.
        mean, std: of a channel, on pixels scaled to [0, 1].

    Raises:
        MygoEdgeError: its layers are not a convolution, any others, a flattening and a linear one.
    """

    def __init__(self, net: NeocortexNet, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        channels, height, width = net.shape
        self.shape, self.widths = (channels, height, width), net.widths
        self.features, last = split(net)
        self.centre: Tensor
        self.register_buffer("centre", 255 * torch.tensor(mean, dtype=torch.float32)[:, None, None])
        factor = 1 / (255 * torch.tensor(std, dtype=torch.float64))[:, None, None]
        first = self.features[0]
        assert isinstance(first, nn.Conv2d)  # `split` has seen to it
        first.weight.copy_(first.weight.double() * factor)
        weight, bias = (part.detach().cpu().double() for part in net.stacked_heads())
        bias = weight @ last.bias.double() + bias
        weight = weight @ last.weight.double()
        # Without drawing the weights that it gets here: exporting must not move the global random state.
        self.logits = skip_init(nn.Linear, weight.shape[1], weight.shape[0]).requires_grad_(False)
        self.logits.weight.copy_(weight)
        self.logits.bias.copy_(bias)
        maps = self.features(torch.zeros(1, *self.shape))
        self.averages = _averages(maps)
        self.width: int = self.averages(maps).shape[1]

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Raw pixels [batch, channels, height, width] -> logits of all heads side by side, and features."""
        maps = self.features(pixels.float() - self.centre)
        return self.logits(maps.flatten(1)), self.averages(maps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels -> logits of all heads side by side, [batch, classes of all tasks]."""
        return self.look(pixels)[0]


def device_features(net: NeocortexNet) -> nn.Sequential:
    """From images as `net` takes them to the features that a device's heads stand on; on the CPU."""
    maps, _ = split(net)
    return nn.Sequential(*maps, *_averages(maps(torch.zeros(1, *net.shape))))


def device_width(net: NeocortexNet) -> int:
    """How many features a device's heads stand on."""
    return int(device_features(net)(torch.zeros(1, *net.shape)).shape[1])


def split(net: NeocortexNet) -> tuple[nn.Sequential, nn.Linear]:
    """Copies of the layers up to the maps, and of the linear layer after them, on the CPU, in fp32.

    A ReLU after a max-pool comes before it here, which gives the same maps: runtimes compute it within a convolution.

    Raises:
        MygoEdgeError: they are something else.
    """
    if not isinstance(net.features, nn.Sequential):
        kind = type(net.features).__name__
        raise MygoEdgeError(f"features are {kind}, which cannot be exported; give layers in sequence")
    *layers, flattening, last = copy.deepcopy(net.features).cpu().float().eval().requires_grad_(False)
    if not layers or not isinstance(layers[0], nn.Conv2d) or layers[0].groups != 1:
        raise MygoEdgeError(f"features.0 is {net.features[0]}, which cannot be exported; it must be a convolution")
    if not isinstance(flattening, nn.Flatten) or not isinstance(last, nn.Linear):
        raise MygoEdgeError(f"features end with {flattening}, {last}; a flattening and a linear layer are exported")
    for index in range(1, len(layers)):
        if isinstance(layers[index - 1], nn.MaxPool2d) and isinstance(layers[index], nn.ReLU):
            layers[index - 1 : index + 1] = layers[index], layers[index - 1]
    return nn.Sequential(*layers), last


def _averages(maps: Tensor) -> nn.Sequential:
    return nn.Sequential(*[nn.AvgPool2d(3, 2)] * (min(maps.shape[2:]) > _LARGE), nn.Flatten())
