"""What a sleep minimises: squared errors of the student's answers, over every head of a batch that mixes tasks, and how
surprised the student is by whose dream it is.

A head's answer has two parts: *which class* (its logits, centred) and *is it mine at all* (their mean). A dream's own
head is taught both, by a teacher. All other heads are taught the second alone: a coat that looks like a pullover is
not theirs, but which of the two it looks like, they may go on knowing. Squared errors care for every dream alike; the
cross-entropy of the task, by the softmax over all heads, cares for those that the student would take for another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear


@dataclass(frozen=True, slots=True)
class HeadErrors:
    """Whose logits are whose, and what a squared error weighs, with T tasks and C classes of all heads.

    head_of_class: int64 [C]. averaging: [T, C], times a column of logits gives the mean of every head.
    own_weights: [T], weight of the squared error of a logit on the own head, for a sample of each task.
    other_weights: [T], weight of the squared error of another head's mean, for a sample of each task.
    entropy_weights: [T], weight of the cross-entropy of the task, for a sample of each task.
    """

    head_of_class: Tensor
    averaging: Tensor
    own_weights: Tensor
    other_weights: Tensor
    entropy_weights: Tensor


@dataclass(frozen=True, slots=True)
class DistillationTarget:
    """What the student should say: on a dream's own head what the teacher's heads say, within +-limit; on average over
    any other head `other_target`. weight: [C, features] and bias: [C] of the heads that teach, centred.
    """

    weight: Tensor
    bias: Tensor
    limit: float
    other_target: float


def head_errors(
    widths: Sequence[int],
    counts: Sequence[float],
    *,
    other_heads: float,
    task_entropy: float = 0.0,
    task_weights: Sequence[float] | None = None,
    device: torch.device | None = None,
) -> HeadErrors:
    """Errors whose sum is a batch's mean over samples of: own head + `other_heads` times the mean over all heads +
    `task_entropy` times the cross-entropy of the task.

    A head's error is one number, however many classes it has: on the own head the mean over its logits of the squared
    error, on another head the squared error of its logits' mean.

    Args:
        widths: classes of every head, in column order.
        counts: samples of every task in the batch (in the whole batch, where processes share it), or their mean.
        task_weights: what a sample of each task weighs, 1 when not given; only ratios matter.

    Raises:
        ValueError: the lists' lengths differ, a number is out of range, or nothing has any weight.
    """
    weights = list(task_weights) if task_weights is not None else [1.0] * len(widths)
    if not len(widths) == len(counts) == len(weights):
        raise ValueError(f"{len(widths)} heads, {len(counts)} counts and {len(weights)} weights do not match")
    if min(widths, default=1) < 1 or min([*counts, *weights], default=0) < 0:
        raise ValueError("a head has at least one class, and counts and weights cannot be negative")
    samples = sum(weight * count for weight, count in zip(weights, counts, strict=True))
    if samples <= 0:
        raise ValueError(f"no sample has any weight: counts {list(counts)}, weights {weights}")
    sizes = torch.tensor(widths)
    head_of_class = torch.arange(len(widths)).repeat_interleave(sizes)
    share = torch.tensor(weights, dtype=torch.float64) / samples
    other = share * (other_heads / len(widths))
    averaging = (torch.arange(len(widths))[:, None] == head_of_class) / sizes[:, None]
    return HeadErrors(
        head_of_class.to(device),
        averaging.to(device),
        ((share + other) / sizes).float().to(device),
        other.float().to(device),
        (share * task_entropy).float().to(device),
    )


@torch.no_grad()
def centred_heads(weight: Tensor, bias: Tensor, widths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weight and bias whose logits are centred within each head: a mean of linear functions is a linear function."""
    parts = zip(weight.split(list(widths)), bias.split(list(widths)), strict=True)
    centred = [(rows - rows.mean(0), offsets - offsets.mean()) for rows, offsets in parts]
    return torch.cat([rows for rows, _ in centred]), torch.cat([offsets for _, offsets in centred])


def distillation_loss(
    logits: Tensor, teacher_features: Tensor, target: DistillationTarget, task_ids: Tensor, errors: HeadErrors
) -> Tensor:
    """The student's loss: a scalar of single precision or better, differentiable in `logits`.

    Args:
        logits: the student's, [batch, classes of all heads].
        teacher_features: [batch, features], what the heads of `target` stand on.
        task_ids: int64 [batch], each below the number of heads (not checked: the device would have to wait).
    """
    logits = _at_least_single(logits)
    with torch.no_grad():
        taught = _at_least_single(linear(teacher_features, target.weight, target.bias))
        taught = taught.clamp(-target.limit, target.limit)
    own_class = errors.head_of_class == task_ids[:, None]  # [batch, classes]
    heads = torch.arange(len(errors.own_weights), device=task_ids.device)
    means = linear(logits, errors.averaging.to(logits.dtype))  # [batch, heads]
    own = torch.where(own_class, logits - taught, 0.0).square().sum(1)
    other = torch.where(heads == task_ids[:, None], 0.0, means - target.other_target).square().sum(1)
    surprise = logits.logsumexp(1) - logits.masked_fill(~own_class, -torch.inf).logsumexp(1)
    squares = errors.own_weights[task_ids] * own + errors.other_weights[task_ids] * other
    return (squares + errors.entropy_weights[task_ids] * surprise).sum()


def _at_least_single(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
