"""The weights of several tasks' generators, stacked, so that one batch of dreams may mix the tasks."""

from dataclasses import dataclass, field

from torch import Tensor

from mygo_edge.kernels import GeneratorKind

SHORTEST = 1e-12  # least norm by which features are divided


@dataclass(frozen=True, slots=True)
class GeneratorStack:
    """The weights of T generators of one kind and architecture, stacked, float32.

    Every kind starts alike: z [latent] of standard normals, times base_weight [T, latent, base], plus the row of a
    sample's class in class_bias [classes of all tasks, base], which holds task after task; class_offsets: int64
    [T + 1], where each task's classes start among all. Then:

    convolutional: the base is a map of base_size (height, width), channels last, and ReLU and a transposed convolution
        (stride 2, padding 1, kernels of 3 and 4) follow one another; weights[i]: [T, in, out, rows, columns],
        biases[i]: [T, out]; tanh at the end.
    perceptron: the base is a hidden layer; ReLU, one dense layer weights[0]: [T, in, channels, height, width] with a
        bias a channel, biases[0]: [T, channels], and tanh follow.
    gaussian: the base is a vector of features of a power-transformed space, to which deviation [T, base] times further
        standard normals is added; the answer is its inverse power: y -> sign(y) |y|^(1 / power), or max(y, 0)^(1 /
        power) where features are never negative; then, where normalised, divided by its norm. The transform that this
        undoes is `PowerTransform` of mygo_edge.bundle.gaussian.
    """

    kind: GeneratorKind
    base_weight: Tensor
    class_bias: Tensor
    class_offsets: Tensor
    base_size: tuple[int, int] = (1, 1)
    weights: list[Tensor] = field(default_factory=list)
    biases: list[Tensor] = field(default_factory=list)
    deviation: Tensor | None = None
    power: float = 1.0
    non_negative: bool = False
    normalised: bool = False

    def __len__(self) -> int:
        return len(self.class_offsets) - 1

    @property
    def latent(self) -> int:
        return self.base_weight.shape[1]

    @property
    def dream_shape(self) -> tuple[int, ...]:
        """Shape of one dream: channels, height and width, or the number of features."""
        if self.kind == "gaussian":
            return (self.base_weight.shape[2],)
        *_, channels, rows, columns = self.weights[-1].shape
        if self.kind == "perceptron":
            return channels, rows, columns
        height, width = self.base_size
        for weight in self.weights:
            height, width = upsampled((height, width), weight)
        return channels, height, width


def upsampled(size: tuple[int, int], weight: Tensor) -> tuple[int, int]:
    """Height and width of what a transposed convolution (stride 2, padding 1) makes of maps of `size`."""
    return 2 * size[0] - 4 + weight.shape[-2], 2 * size[1] - 4 + weight.shape[-1]
