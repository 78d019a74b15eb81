"""How much the frequencies of classes count, and how sure answers are then.

With a share of 1 answers are the posterior of classes as frequent as their images were, by Bayes' theorem; with 0 all
classes are taken for equally likely.
"""

import numpy as np
from numpy.typing import NDArray

from mygo_edge.learn.features.strength import LeftOut

# Of the logarithm in logits that are not divided by the temperature. Where images are few a high temperature also says
# how far the covariance is wrong, and frequencies that count as much cost rare classes more than frequent ones gain.
MOST = 3.0


class Prior:
    """share: of the logarithm of a frequency; temperature: of the softmax of a classifier whose means are taken as they
    are, by images left out of the last task by which the shrinkage was tried.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share, self.temperature = share, 1.0

    def calibrate(self, found: LeftOut, strength: int) -> None:
        """Take the temperature that images left out ask for, at that strength of shrinkage."""
        frequencies = _frequencies(found.counts, found.own)
        self.temperature = found.temperature(strength, frequencies, self.weight)

    def weight(self, temperature: float) -> float:
        """Of the logarithm of a frequency, in logits that are yet to be divided by that temperature."""
        return min(self.share * temperature, MOST)


def _frequencies(counts: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.float64]:
    """Their logarithms to images of classes `own` [n], each without itself: [n, classes]."""
    found = np.tile(np.log(counts), (len(own), 1))
    found[np.arange(len(own)), own] = np.log(counts[own] - 1)
    return found
