"""How much the frequencies of classes count, by images left out, and how sure answers are then.

With a weight of 1 answers are the posterior of classes as frequent as their images were, by Bayes' theorem; with 0 all
classes are taken for equally likely.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mygo_edge.learn.features.novelty import Judged
from mygo_edge.learn.features.strength import LeftOut

SHARES = (0.0, 0.5, 1.0)  # of the logarithm of a frequency, to choose among
# Of the logarithm in logits that are not divided by the temperature. Where images are few a high temperature also says
# how far the covariance is wrong, and frequencies that count as much cost rare classes more than frequent ones gain.
MOST = 3.0
_CERTAIN = 1.0  # standard errors by which a share must answer more images rightly than the one below it

Numbers = NDArray[np.float64]


class Prior:
    """Chooses among `SHARES` by all tasks that were judged so far.

    gains: [shares - 1], right answers to images left out, the task unknown, that each share has more than the one below
    it, summed; squares: the variances of these sums; temperatures: [shares], of the classifier's softmax, as the last
    task has them by which the shrinkage was tried.
    """

    def __init__(self, fixed: float | None = None) -> None:
        """fixed: one of `SHARES` that is taken whatever is found."""
        self._fixed = None if fixed is None else SHARES.index(fixed)
        self.gains, self.squares = np.zeros(len(SHARES) - 1), np.zeros(len(SHARES) - 1)
        self.temperatures = np.ones(len(SHARES))

    def calibrate(self, found: LeftOut, strength: int) -> None:
        """Take the temperatures that images left out ask for, at that strength of shrinkage."""
        frequencies = _frequencies(found.counts, found.own)
        self.temperatures[:] = [found.temperature(strength, frequencies, partial(_weight, share)) for share in SHARES]

    def learn(self, judged: Judged) -> None:
        """Count how images of a task are answered by a memory that has not seen them.

        They show how often new classes are taken for old ones, and never the other way about, so that frequencies would
        seem to help where the frequent classes come last, and to hurt where they come first. But one covariance for all
        classes makes the one as likely as the other. So each image also stands for those of the old class that it is
        nearest to, with the logits of the two exchanged.
        """
        rows, own, counts = np.arange(len(judged.own)), judged.own, judged.counts
        others = judged.logits.copy()
        others[rows, own] = -np.inf
        nearest = others.argmax(1)
        exchanged = judged.logits.copy()
        exchanged[rows, own], exchanged[rows, nearest] = judged.logits[rows, nearest], judged.logits[rows, own]
        like_it = np.where(nearest < judged.old, counts[nearest] / counts[own], 0.0)  # images of the other, to one
        right = self._right(judged.logits, own, counts) + like_it * self._right(exchanged, nearest, counts)
        more = np.diff(right, axis=0)
        self.gains += more.sum(1)
        self.squares += (more**2).sum(1)

    def _right(self, logits: Numbers, own: NDArray[np.int64], counts: NDArray[np.int64]) -> Numbers:
        """Which images of classes `own` [n] are answered rightly, by share, [shares, n]."""
        frequencies = _frequencies(counts, own)
        weights = map(_weight, SHARES, self.temperatures)
        return np.array([(logits + weight * frequencies).argmax(1) == own for weight in weights], np.float64)

    @property
    def _chosen(self) -> int:
        if self._fixed is not None:
            return self._fixed
        certain = self.gains > _CERTAIN * np.sqrt(self.squares)
        return int(np.cumprod(certain).sum())

    @property
    def share(self) -> float:
        """From 0 on upwards, as long as more images are answered rightly, and by more than chance."""
        return SHARES[self._chosen]

    @property
    def temperature(self) -> float:
        """What logits are to be divided by, those of frequencies included."""
        return float(self.temperatures[self._chosen])

    @property
    def weight(self) -> float:
        """Of the logarithm of a frequency, in logits that are not divided yet."""
        return _weight(self.share, self.temperature)


def _weight(share: float, temperature: float) -> float:
    return min(share * temperature, MOST)


def _frequencies(counts: NDArray[np.int64], own: NDArray[np.int64]) -> Numbers:
    """Their logarithms to images of classes `own` [n], each without itself: [n, classes]."""
    found = np.tile(np.log(counts), (len(own), 1))
    found[np.arange(len(own)), own] = np.log(counts[own] - 1)
    return found
