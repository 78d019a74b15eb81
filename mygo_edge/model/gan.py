"""The class-conditional GAN that memorises one task, and the frozen generator that is left of it."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mygo_edge.kernels import GeneratorKind
from mygo_edge.kernels.noise import LATENT
from mygo_edge.model.gaussians import Gaussians
from mygo_edge.model.network import Shape, halvings
from mygo_edge.model.upsampling import upsample

EMBEDDING = 8


def upsampling_sizes(shape: Shape) -> list[tuple[int, int]]:
    """Heights and widths from the generator's base (about 4 pixels) up to the image, doubling each time.

    An odd size is reached as 2n - 1, so every image size has an exact path: 28 <- 14 <- 7 <- 4.
    """
    sizes = [(shape[1], shape[2])]
    for _ in range(max(2, math.ceil(math.log2(min(shape[1:]) / 4)))):
        height, width = sizes[0]
        sizes.insert(0, ((height + 1) // 2, (width + 1) // 2))
    return sizes


def upsampling(c_in: int, c_out: int, small: tuple[int, int], large: tuple[int, int]) -> nn.ConvTranspose2d:
    """The weights of a transposed convolution from maps of size `small` to size `large`: see `upsample`.

    From a single pixel it is dense: its kernel is the map. Else its stride is 2, its padding 1.
    """
    if small == (1, 1):
        return nn.ConvTranspose2d(c_in, c_out, large)
    kernel = (4 - (2 * small[0] - large[0]), 4 - (2 * small[1] - large[1]))
    return nn.ConvTranspose2d(c_in, c_out, kernel, stride=2, padding=1)


class Generator(nn.Module):
    """z [batch, 64] and class ids [batch] -> images in [-1, 1], [batch, *shape].

    convolutional: a linear layer over z and a class embedding, batch norm, then transposed convolutions with batch
    norm between (the DCGAN pattern: Radford et al. 2016), tanh at the end. perceptron: one hidden layer of `width`
    units with batch norm, then a dense layer and tanh.
    """

    def __init__(self, shape: Shape, classes: int, width: int = 64, kind: GeneratorKind = "convolutional") -> None:
        super().__init__()
        self.shape, self.kind = shape, kind
        width *= 1 if shape[0] == 1 else 2
        if kind == "perceptron":
            self.sizes, channels = [(1, 1), (shape[1], shape[2])], [width, shape[0]]
        else:
            self.sizes = upsampling_sizes(shape)
            # Narrow at the base, where the linear layer has most of the weights, and widest in the middle.
            channels = [width // 4, *[width] * (len(self.sizes) - 3), width // 2, shape[0]]
        self.embedding = nn.Embedding(classes, EMBEDDING)
        self.base = nn.Linear(LATENT + EMBEDDING, channels[0] * math.prod(self.sizes[0]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels[:-1])
        self.upsamplings = nn.ModuleList(
            upsampling(c_in, c_out, small, large)
            for (c_in, c_out), (small, large) in zip(pairwise(channels), pairwise(self.sizes), strict=True)
        )

    def forward(self, z: Tensor, class_ids: Tensor) -> Tensor:
        hidden = self.base(torch.cat([z, self.embedding(class_ids)], 1))
        hidden = hidden.unflatten(1, (-1, *self.sizes[0]))  # [batch, channels, height, width]
        for norm, layer in zip(self.norms, self.upsamplings, strict=True):
            weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
            hidden = upsample(self.kind, F.relu(norm(hidden)), weight, bias)
        return torch.tanh(hidden)

    @torch.no_grad()
    def freeze(self, width: float = 1.0) -> "FrozenGenerator":
        """The same function in inference mode, with the norms and the embedding folded into weights and biases.

        width: standard deviation of what it takes for z, where the z that it will be given has one of 1.
        """
        scales, shifts = zip(*(_affine(norm) for norm in self.norms), strict=True)
        area = math.prod(self.sizes[0])
        scale, shift = scales[0].repeat_interleave(area), shifts[0].repeat_interleave(area)
        by_class = self.embedding.weight @ self.base.weight[:, LATENT:].T + self.base.bias
        weights, biases = [], []
        for index, layer in enumerate(self.upsamplings):
            weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
            if index + 1 < len(self.upsamplings):  # a norm follows; after the last layer there is none
                weight = weight * scales[index + 1][None, :, None, None]
                bias = bias * scales[index + 1] + shifts[index + 1]
            weights.append(weight)
            biases.append(bias)
        return FrozenGenerator(
            self.shape,
            self.kind,
            (width * self.base.weight[:, :LATENT] * scale[:, None]).T.contiguous(),
            by_class * scale + shift,
            weights,
            biases,
        )


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a batch norm does in inference mode: scale and shift a channel."""
    assert isinstance(norm, nn.BatchNorm2d)
    scale = norm.weight / torch.sqrt(norm.get_buffer("running_var") + norm.eps)
    return scale, norm.bias - norm.get_buffer("running_mean") * scale


class FrozenGenerator(nn.Module):
    """A task's memory for good: buffers only, no norms, no embedding.

    Args:
        shape: channels, height and width of the images.
        kind: of a `Generator`.

    Buffers:
        base_weight: [64, base], base = channels x height x width of the first feature map.
        class_bias: [classes, base].
        weight_i, bias_i: transposed convolution i, [in, out, kernel, kernel] and [out].

    Attributes:
        gaussians: the task's second memory, where it has one. What a device gets is without.
    """

    base_weight: Tensor
    class_bias: Tensor

    def __init__(
        self,
        shape: Shape,
        kind: GeneratorKind,
        base_weight: Tensor,
        class_bias: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self.shape, self.kind = shape, kind
        self.base_size = (1, 1) if kind == "perceptron" else upsampling_sizes(shape)[0]
        self.register_buffer("base_weight", base_weight.detach().clone())
        self.register_buffer("class_bias", class_bias.detach().clone())
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            # Channels last: faster convolutions on CPUs.
            self.register_buffer(f"weight_{index}", weight.detach().clone(memory_format=torch.channels_last))
            self.register_buffer(f"bias_{index}", bias.detach().clone())
        self.gaussians: Gaussians | None = None

    @classmethod
    def from_tensors(cls, shape: Shape, kind: GeneratorKind, tensors: dict[str, Tensor]) -> "FrozenGenerator":
        """Rebuild from `state_dict()`. Raises KeyError when a tensor is missing."""
        layers = range(sum(name.startswith("weight_") for name in tensors))
        frozen = cls(
            shape,
            kind,
            tensors["base_weight"],
            tensors["class_bias"],
            [tensors[f"weight_{i}"] for i in layers],
            [tensors[f"bias_{i}"] for i in layers],
        )
        if second := {name[10:]: value for name, value in tensors.items() if name.startswith("gaussians.")}:
            frozen.gaussians = Gaussians(**second)
        return frozen

    def for_devices(self) -> "FrozenGenerator":
        """The generator alone."""
        weights, biases = zip(*self.convolutions, strict=True)
        return FrozenGenerator(self.shape, self.kind, self.base_weight, self.class_bias, weights, biases)

    @property
    def classes(self) -> int:
        return self.class_bias.shape[0]

    @property
    def convolutions(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of every transposed convolution, in order."""
        count = sum(name.startswith("weight_") for name, _ in self.named_buffers())
        return [(getattr(self, f"weight_{i}"), getattr(self, f"bias_{i}")) for i in range(count)]

    @property
    def stride_and_padding(self) -> tuple[int, int]:
        """Of every transposed convolution."""
        return (1, 0) if self.kind == "perceptron" else (2, 1)

    def forward(self, z: Tensor, class_ids: Tensor) -> Tensor:
        hidden = z @ self.base_weight + self.class_bias[class_ids]
        hidden = hidden.unflatten(1, (-1, *self.base_size))
        for weight, bias in self.convolutions:
            hidden = upsample(self.kind, F.relu(hidden), weight, bias)
        return torch.tanh(hidden)


class ImageConvolution(nn.Conv2d):
    """The first layer, through a matrix product where grey images need a gradient, as the generator's do: on a CPU that
    takes less time (bench/test_memory.py).
    """

    def forward(self, images: Tensor) -> Tensor:
        if not (images.requires_grad and images.device.type == "cpu" and images.shape[1] == 1):
            return super().forward(images)
        columns = F.unfold(images, (4, 4), padding=1, stride=2).transpose(1, 2)  # [batch, pixels, 16]
        maps = F.linear(columns, self.weight.flatten(1), self.bias)
        # Channels last, as the next layer has its maps.
        return maps.unflatten(1, (images.shape[2] // 2, images.shape[3] // 2)).permute(0, 3, 1, 2)


class SpectralLinear(nn.Linear):
    """A linear layer whose weight is divided by its largest singular value, by one step of power iteration a pass, as
    `spectral_norm` makes of one (Miyato et al. 2018). What comes out is divided in place of the weight: in a critic
    those are a tenth as many numbers, forward and backward.

    Buffers:
        left, right: [outputs] and [inputs], the singular vectors.
    """

    left: Tensor
    right: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("left", F.normalize(torch.randn(outputs), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(inputs), dim=0))
        for _ in range(15):
            self._iterate()

    @torch.no_grad()
    def _iterate(self) -> None:
        self.left.copy_(F.normalize(torch.mv(self.weight, self.right), dim=0))
        self.right.copy_(F.normalize(torch.mv(self.weight.T, self.left), dim=0))

    def forward(self, values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            if self.training:
                self._iterate()
            left, right = self.left.clone(), self.right.clone()  # this pass's, when its gradient is taken
            norm = torch.dot(left, torch.mv(self.weight, right))
        return F.linear(values, self.weight) / norm + self.bias


class Discriminator(nn.Module):
    """Images and class ids -> realness [batch]: strided convolutions and a projection of the class (Miyato & Koyama
    2018), every layer but the class embedding spectrally normalised (Miyato et al. 2018).
    """

    def __init__(self, shape: Shape, classes: int, width: int = 16, hidden: int = 128) -> None:
        super().__init__()
        width *= 1 if shape[0] == 1 else 2
        channels, height, wide = shape
        layers: list[nn.Module] = []
        for block in range(halvings(shape)):
            kind = nn.Conv2d if block else ImageConvolution
            layers += [spectral_norm(kind(channels, width * 2**block, 4, 2, 1)), nn.LeakyReLU(0.1)]
            channels, height, wide = width * 2**block, height // 2, wide // 2
        # Flattened before the last activation, which then has its gradient in the order of its values: on a CPU the
        # other way round takes up to nine times as long.
        layers.insert(-1, nn.Flatten())
        layers += [SpectralLinear(channels * height * wide, hidden), nn.LeakyReLU(0.1)]
        self.body = nn.Sequential(*layers)
        self.realness = spectral_norm(nn.Linear(hidden, 1))
        self.embedding = nn.Embedding(classes, hidden)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, images: Tensor, class_ids: Tensor) -> Tensor:
        hidden = self.body(images)
        return self.realness(hidden).squeeze(1) + (self.embedding(class_ids) * hidden).sum(1)


class VectorDiscriminator(nn.Module):
    """Vectors and class ids -> realness [batch]: two dense layers and a projection of the class, normalised as those of
    `Discriminator` are.
    """

    def __init__(self, width: int, classes: int, hidden: int = 256) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(),
            SpectralLinear(width, hidden),
            nn.LeakyReLU(0.1),
            SpectralLinear(hidden, hidden),
            nn.LeakyReLU(0.1),
        )
        self.realness = spectral_norm(nn.Linear(hidden, 1))
        self.embedding = nn.Embedding(classes, hidden)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, vectors: Tensor, class_ids: Tensor) -> Tensor:
        hidden = self.body(vectors)
        return self.realness(hidden).squeeze(1) + (self.embedding(class_ids) * hidden).sum(1)
