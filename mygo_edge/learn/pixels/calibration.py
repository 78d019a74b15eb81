"""The end of a sleep: which head an image belongs to is fitted anew, on dreams, with everything else held fixed.

A head's answer has two parts: which class (its logits, centred) and is it mine at all (their mean). A linear function
of the features, added to all logits of a head, changes the second alone, so no answer with the task given changes. The
best such functions are a convex problem: multinomial logistic regression of the task.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mygo_edge.model.network import NeocortexNet

# On the functions' weights, for features of standard deviation 1; 1e-3 and 1e-1 did less well.
RIDGE = 1e-2
ITERATIONS = 60  # of L-BFGS, at most


def calibrate(net: NeocortexNet, features: Tensor, task_ids: Tensor) -> None:
    """Make the heads of `net` comparable, in place.

    Args:
        features: [n, features], of dreams of all tasks, which count alike however many there are of each; task_ids:
            int64 [n].
    """
    with torch.no_grad():
        logits = net.logits(features).double()
        # The larger a head's logits, the more it is this head's: softmax over all heads, summed over each.
        claims = torch.stack([head.logsumexp(1) for head in logits.split(net.widths, 1)], 1)  # [n, tasks]
        scale = features.double().std(0).mean().clamp_min(1e-6)
        inputs = F.pad(features.double() / scale, (0, 1), value=1.0)  # [n, features + 1], a constant for the bias
    weights = 1 / torch.bincount(task_ids, minlength=len(net.widths)).clamp_min(1).double()
    added = torch.zeros(len(net.widths), inputs.shape[1], dtype=torch.float64, device=inputs.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([added], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(claims + inputs @ added.T, task_ids, weights) + RIDGE * added.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    with torch.no_grad():
        for head, change in zip(net.classifiers, added.float(), strict=True):
            head.weight += change[:-1] / scale.float()
            head.bias += change[-1]
