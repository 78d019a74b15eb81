"""How much the frequencies of classes count in answers: shared by box and device. numpy only."""

import numpy as np

from mygo_edge.bundle.gaussian import Floats, Ids


def prior_logits(counts: Ids, prior: float) -> Floats:
    """What is added to the logit of each class, [classes], once it is known how novel an input is: that depends on what
    classes look like, and not on how frequent they are.

    Frequencies are taken against that of the class in the middle, so that equal ones change nothing, not in a bit, and
    a class of which it is not known how frequent it is counts as an average one with 0.

    Args:
        counts: images of each class.
        prior: the weight of the logarithm of a frequency, before logits are divided by the temperature.
    """
    return np.asarray(prior * np.log(counts / np.median(counts)), np.float32)
