"""The classifier as devices compute it: equal to the learner's network, with less arithmetic before the answer."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mygo_edge.errors import MygoEdgeError
from mygo_edge.model.network import NeocortexNet

# Nothing bends between the features and the heads, so heads can be multiplied into the layer before them: an answer
# then needs neither that layer's arithmetic nor its weights, which are most of the network's. It costs the file a row
# of that layer's input a class, so networks of many classes keep their heads on the features.
MAX_FOLDED = 64


class DeviceNet(nn.Module):
    """A network whose scaling stands in its first convolution, and whose heads stand on the maps where that pays.

    features: as in the network, its first weights divided by 255 std; logits: all heads, one below the other; centre:
    [channels, 1, 1], what is taken from raw pixels first, so that the zeros at a map's border stay exact.

    Args:
        net: on any device; left as it is.
        mean, std: of a channel, on pixels scaled to [0, 1].

    Raises:
        MygoEdgeError: its first layer is no convolution.
    """

    def __init__(self, net: NeocortexNet, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        channels, height, width = net.shape
        self.shape, self.widths, self.width = (channels, height, width), net.widths, net.width
        layers = copy.deepcopy(net.features).cpu().float().eval().requires_grad_(False)
        if not isinstance(layers, nn.Sequential):
            raise MygoEdgeError(
                f"features are {type(layers).__name__}, which cannot be exported; give layers in sequence"
            )
        self.features = layers
        first, last = self.features[0], self.features[-1]
        if not isinstance(first, nn.Conv2d) or first.groups != 1:
            raise MygoEdgeError(f"features.0 is {first}, which cannot be exported; it must be a convolution")
        self.centre: Tensor
        self.register_buffer("centre", 255 * torch.tensor(mean, dtype=torch.float32)[:, None, None])
        factor = 1 / (255 * torch.tensor(std, dtype=torch.float64))[:, None, None]
        first.weight.copy_(first.weight.double() * factor)
        weight, bias = (part.detach().cpu().double() for part in net.stacked_heads())
        self.folds = isinstance(last, nn.Linear) and sum(self.widths) <= MAX_FOLDED
        if isinstance(last, nn.Linear) and self.folds:
            bias = weight @ last.bias.double() + bias
            weight = weight @ last.weight.double()
        # Without drawing the weights that it gets here: exporting must not move the global random state.
        self.logits = skip_init(nn.Linear, weight.shape[1], weight.shape[0]).requires_grad_(False)
        self.logits.weight.copy_(weight)
        self.logits.bias.copy_(bias)

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Raw pixels [batch, channels, height, width] -> logits of all heads side by side, and features."""
        maps = self.features[:-1](pixels.float() - self.centre)
        features = self.features[-1](maps)
        return self.logits(maps if self.folds else features), features

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels -> logits of all heads side by side, [batch, classes of all tasks]."""
        return self.look(pixels)[0]
