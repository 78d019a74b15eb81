"""What the graphs of all text trunks share: their inputs and output, the mean over a text's tokens, the unit norm."""

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


def unit_norm(build: Builder, vectors: str) -> None:
    """The output: `vectors` [batch, width], each divided by its norm."""
    axis = build.constant("width_axis", np.array([1]))
    squares = build.node("ReduceSumSquare", [vectors, axis], "squares", keepdims=1)
    norm = build.node("Sqrt", [squares], "norm")
    safe = build.node("Max", [norm, build.constant("tiny", np.array(_TINY, np.float32))], "safe_norm")
    build.node("Div", [vectors, safe], OUTPUT)


def serialise(build: Builder, width: int) -> bytes:
    """The model around what was built."""
    inputs = dict.fromkeys(INPUTS, (TensorProto.INT64, ("tokens",)))
    return build.serialise("text", inputs, {OUTPUT: (TensorProto.FLOAT, (width,))})
