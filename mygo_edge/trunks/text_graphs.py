"""What the graphs of all text trunks share: their inputs and output, the mean over a text's tokens, the scale."""

import numpy as np
from onnx import TensorProto

from mygo_edge.export.graphs import Builder

INPUTS = ("ids", "mask")
OUTPUT = "features"
_TINY = 1e-9  # below any norm of a text's sum; keeps a text without tokens at 0


def weighted_sum(build: Builder, values: str, shares: str) -> str:
    """`values` [batch, tokens, width] summed over tokens with the weights `shares` [batch, tokens]."""
    axis = build.constant("token_axis", np.array([1]))
    row = build.node("Unsqueeze", [shares, axis], "share_row")  # [batch, 1, tokens]
    total = build.node("MatMul", [row, values], "total")  # [batch, 1, width]
    return build.node("Squeeze", [total, axis], "sum")


def mean_square_one(build: Builder, vectors: str, width: int) -> None:
    """The output: `vectors` [batch, width], each scaled to a mean square of 1, as what comes after expects."""
    axis = build.constant("width_axis", np.array([1]))
    squares = build.node("Mul", [vectors, vectors], "squares")
    norm = build.node("Sqrt", [build.node("ReduceSum", [squares, axis], "energy", keepdims=1)], "norm")
    safe = build.node("Max", [norm, build.constant("tiny", np.array(_TINY, np.float32))], "safe_norm")
    direction = build.node("Div", [vectors, safe], "direction")
    build.node("Mul", [direction, build.constant("root_width", np.array(width**0.5, np.float32))], OUTPUT)


def serialise(build: Builder, width: int) -> bytes:
    """The model around what was built."""
    inputs = dict.fromkeys(INPUTS, (TensorProto.INT64, ("tokens",)))
    return build.serialise("text", inputs, {OUTPUT: (TensorProto.FLOAT, (width,))})
