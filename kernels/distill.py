"""Distillation loss over multi-head logits: the PyTorch reference."""

from torch import Tensor


def distillation_loss(student: Tensor, target: Tensor, own: Tensor, other_weight: float) -> Tensor:
    """Mean squared error over a sample's own head, plus a weighted one over all heads.

    Args:
        student: [batch, classes of all heads], the student's logits.
        target: the same shape, what the student should say: the teacher's logits on the heads that the teacher
            knows the sample by, a constant low value elsewhere.
        own: bool, the same shape, true on the head of the sample's task.
        other_weight: weight of the term over all heads; 0 leaves the own-head term alone.

    Returns:
        A scalar: mean over samples and own-head classes + other_weight * mean over samples and all classes.
    """
    error = (student - target).square()
    loss = (error * own).sum() / own.sum()
    if other_weight:
        loss = loss + other_weight * error.mean()
    return loss
