"""Precision as named recipes: what each `--precision` publishes, and how those graphs are made.

A recipe lists stages (`mygo_edge.export.stages`) in order, and what they need to know: which nodes, from which samples.
A precision says which recipe makes the classifier and which the generators.
"""

from dataclasses import dataclass

from mygo_edge.errors import MygoEdgeError

MAX_LOSS = 0.005  # of a measure against fp32, unless the user says otherwise: half a per cent of answers or dreams

# Largest difference from PyTorch with the weights that the file holds, absolute below 1 and relative above: of sums in
# another order, some 30 times over.
EXACT = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From what the ranges of activations are taken: the largest value over these dreams."""

    dreams_per_class: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a graph is made.

    name: its precision in the manifest. stages: in order. nodes: patterns of the names of nodes whose weights are
    stored small. integers: of those that multiply integers, for which `calibration` is needed. tolerance: largest
    difference from PyTorch that computes with the weights, and the rounding of activations, of the graph.
    """

    name: str
    stages: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    calibration: Calibration | None = None
    tolerance: float = EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What `--precision NAME` publishes: the classifier in fp32, and by its recipe too; generators by theirs alone."""

    classifier: Recipe
    generator: Recipe


FP32 = Recipe(name="fp32", stages=("build",))

# Of the classifier and of a generator: all.
_CLASSIFIER = ("features.*", "logits")
_GENERATOR = ("noise", "bias", "map_*")

_GENERATOR_INT8 = Recipe(name="int8-weights", stages=("build", "store-int8"), nodes=_GENERATOR)

PRECISIONS: dict[str, Precision] = {
    "fp32": Precision(classifier=FP32, generator=FP32),
    "fp16": Precision(
        classifier=Recipe(name="fp16", stages=("build", "store-fp16"), nodes=_CLASSIFIER),
        generator=Recipe(name="fp16", stages=("build", "store-fp16"), nodes=_GENERATOR),
    ),
    "int8": Precision(
        # The first convolution, of one or three channels, is slower in integers, and the linear layer takes too little
        # time to matter: they compute in fp32, with weights stored small.
        classifier=Recipe(
            name="int8",
            stages=("build", "quantise", "store-int8"),
            nodes=_CLASSIFIER,
            integers=("features.[1-9]*",),
            calibration=Calibration(dreams_per_class=100),
            # The last bits of a sum may move an activation to the neighbouring one of 256 levels: rarely, by 0.024 at
            # most in 5,000 images.
            tolerance=5e-2,
        ),
        # onnxruntime has no transposed convolution of integers on CPUs: activations in int8 would cost time and dreams.
        generator=_GENERATOR_INT8,
    ),
    "int8-weights": Precision(
        classifier=Recipe(name="int8-weights", stages=("build", "store-int8"), nodes=_CLASSIFIER),
        generator=_GENERATOR_INT8,
    ),
}


def precision_named(name: str) -> Precision:
    """The precision of that name. Raises MygoEdgeError when there is none."""
    if name not in PRECISIONS:
        raise MygoEdgeError(f"precision {name!r} cannot be exported; use one of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
