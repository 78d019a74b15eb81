"""Text trunks: a graph from token ids and mask to a vector, with the tokenizer that it needs.

Every text trunk has inputs `ids` and `mask` [batch, tokens] int64 and the output `features` [batch, width] float32 of
mean square 1 (0 for a text without tokens), so that box and device run them all alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.bundle.text import Tokenizer
from mygo_edge.bundle.text_parts import Tokenised
from mygo_edge.device.session import Graph, SessionOptions
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.trunks.text_graphs import INPUTS, OUTPUT

_TEXTS = 512  # at a time
# Vectors of text are close to Gaussian as they are: cross-validated within 6,000 training texts of AG News (7.6k), a
# square root costs both trunks 0.1 to 0.3 points.
TRANSFORM = PowerTransform(1.0, signed=True)
# A graph in int8 is taken where its vectors point where those of fp32 do; measured on AG News (7.6k): 0.9995 and 0.999
# for `minilm`.
MEAN_COSINE, LEAST_COSINE = 0.995, 0.97
# Cross-validated within training texts of 20 Newsgroups: from 32 over 64 and 128 to all 256 directions each step is
# worth a point or more with 20 classes, and next to nothing with four (AG News). 128 take 8 KB a class, all 32.
_FEW, _MORE_DIRECTIONS, _MOST_DIRECTIONS = 4, 6, 128
# With half as many texts a class as features, or more, covariances are known well enough for more: within training
# texts of 5, 8 and 12 newsgroups they are worth 1.5, 2.1 and 2.6 points. 192 take 19 KB a class.
_WELL_KNOWN, _MORE_WELL_KNOWN, _MOST_WELL_KNOWN = 96, 16, 192

Progress = Callable[[int, int], None]  # texts done, of all


@dataclass(frozen=True, slots=True)
class TextTrunk:
    """A frozen trunk for text.

    graph: serialised ONNX; tokenizer: the content of a tokenizer.json; max_tokens: that it takes at once; parts: of
    longer texts, so many times as many are read and their vectors averaged, the rest is cut; precision: of the weights,
    fp32 or int8-weights; source: whose weights these are, and under which licence, for users to read; directions: in
    which up to four classes have covariances of their own, as many as pay beside a trunk of this size (docs/text.md);
    chosen: by the user, for any number of classes.
    """

    name: str
    graph: bytes
    tokenizer: bytes
    max_tokens: int
    precision: str
    source: str
    directions: int = 48
    parts: int = 1
    chosen: int | None = None

    def directions_for(self, counts: NDArray[np.integer], features: int) -> int:
        """Directions in which classes have covariances of their own: the more classes, the more there is to tell
        apart, and the less of a class's bytes is a share of what all have in common; and the more texts, the better are
        covariances known.

        Args:
            counts: texts of every class.
            features: width of a vector.
        """
        if self.chosen is not None:
            return min(self.chosen, features)
        beyond = len(counts) - _FEW
        if beyond <= 0:
            return self.directions
        if np.median(counts) >= features / 2:
            return min(_WELL_KNOWN + _MORE_WELL_KNOWN * (beyond - 1), _MOST_WELL_KNOWN, features)
        return max(self.directions, min(self.directions + _MORE_DIRECTIONS * beyond, _MOST_DIRECTIONS))


class Embedder:
    """Runs a text trunk: strings to vectors."""

    def __init__(self, trunk: TextTrunk, threads: int = 1) -> None:
        """Load the graph and the tokenizer. Raises BundleError when either would be refused on a device."""
        self.tokenizer = Tokenizer(trunk.tokenizer, trunk.max_tokens, f"the tokenizer of {trunk.name}", trunk.parts)
        self.name = trunk.name
        self._graph = Graph(trunk.graph, trunk.name, SessionOptions(threads=threads, arena=False), dequantise_once=True)

    def __call__(self, texts: Sequence[str], progress: Progress = lambda done, total: None) -> NDArray[np.float32]:
        """Vectors [n, width] of n texts, one at least, in batches of like length. Warns of texts that are cut.

        Raises:
            MygoEdgeError: vectors that are not finite; it names the first text.
        """
        found, cut = [], 0
        for start in range(0, len(texts), _TEXTS):
            tokenised = self.tokenizer.tokenised(texts[start : start + _TEXTS])
            cut += tokenised.cut
            found.append(self._vectors(tokenised))
            progress(min(start + _TEXTS, len(texts)), len(texts))
        if cut:
            limit = self.tokenizer.max_tokens * self.tokenizer.parts
            warn(f"{cut} of {len(texts)} texts have more than the {limit} tokens that are read; the rest is cut")
        vectors = np.concatenate(found)
        if len(bad := np.flatnonzero(~np.isfinite(vectors).all(1))):
            raise MygoEdgeError(f"{self.name} makes NaN or infinity of text {bad[0]}; use another trunk")
        return vectors

    def _vectors(self, tokenised: Tokenised) -> NDArray[np.float32]:
        of_parts: dict[int, NDArray[np.float32]] = {}
        for places, ids, mask in tokenised.batches():
            (found,) = self._graph.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))
            of_parts |= zip(places.tolist(), found, strict=True)
        return tokenised.vectors(np.stack([of_parts[place] for place in range(len(of_parts))]))


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
