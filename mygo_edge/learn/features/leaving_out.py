"""Distances of images to class means without the image itself, in closed form."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import Ids

Numbers = NDArray[np.float64]


class Products(NamedTuple):
    """Under the inverse of a covariance, of images less their class mean and of class means less any one vector.

    rest: [n], squared norms of images; inner: [n, classes]; between: [classes, classes], of means.
    """

    rest: NDArray
    inner: NDArray
    between: NDArray


def distances(found: Products, own: Ids, counts: Ids, weight: float) -> Numbers:
    """Squared distances [n, classes]. Leaving an image out moves its class mean and takes one outer product from the
    covariance (Sherman & Morrison 1950).

    Args:
        found: of all images, none left out.
        own: [n], of which class they are.
        counts: [classes], images of each.
        weight: of an outer product in the covariance.
    """
    rows = np.arange(len(own))
    rest, inner, between = (part.astype(np.float64) for part in found)
    square = between.diagonal()
    apart = square[:, None] + square - 2 * between  # of two means
    towards = inner[rows, own][:, None] - inner  # of an image from its mean, along that to another
    cross, norms = rest[:, None] + towards, rest[:, None] + 2 * towards + apart[own]
    longer = counts[own] / (counts[own] - 1)  # the distance to the mean without the image
    cross[rows, own], norms[rows, own] = rest * longer, rest * longer**2
    taken = weight * longer
    left: Numbers = norms + taken[:, None] * cross**2 / np.maximum(1 - taken * rest, 1e-6)[:, None]
    return left
