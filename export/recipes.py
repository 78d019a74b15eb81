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
    """From what the ranges of activations are taken: the smallest and largest value over these dreams."""

    dreams_per_class: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a graph is made.

    name: its precision in the manifest. stages: in order. nodes: patterns of the names of nodes whose weights are
    stored small, and whose inputs are integers where `calibration` is given. tolerance: largest difference from
    PyTorch that computes with the weights, and the rounding of activations, of the graph.
    """

    name: str
    stages: tuple[str, ...]
    nodes: tuple[str, ...] = ()
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
        # The layer that has most weights. Convolutions in int8 are slower than in fp32 on CPUs
        # without dot-product instructions (docs/edge.md), and would save no bytes to speak of.
        classifier=Recipe(
            name="int8",
            stages=("build", "preprocess", "quantise"),
            nodes=("logits",),
            calibration=Calibration(dreams_per_class=100),
            # A convolution's last bits may move an activation to the neighbouring one of 256 levels.
            tolerance=1e-2,
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
