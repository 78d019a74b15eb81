"""Distillation over multi-head logits, for batches that mix tasks: the operators and their PyTorch reference.

Two forms. `head_distillation_loss` goes from features and stacked heads to the loss and, in the same pass, to the
gradients, so that no logits need to be kept. `distillation_loss` compares logits with logits. Triton's kernels for both
are in `distill_triton.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mygo_edge.kernels.backend import choose_backend


class Heads(NamedTuple):
    """Whose logits are whose, and what an error weighs.

    starts, ends: int64 [tasks], the columns of each task's head among the logits of all heads.
    own_weights: float [tasks], factor of a squared error on the own head, for a sample of each task.
    all_weights: float [tasks], the same on any head, the own one included.
    """

    starts: Tensor
    ends: Tensor
    own_weights: Tensor
    all_weights: Tensor


class Teacher(NamedTuple):
    """A frozen teacher: features [batch, features], weight [classes of all heads, features] and bias [classes]."""

    features: Tensor
    weight: Tensor
    bias: Tensor


def heads_for(
    widths: Sequence[int],
    counts: Sequence[float],
    *,
    other_heads: float,
    task_weights: Sequence[float] | None = None,
    device: torch.device | None = None,
) -> Heads:
    """Heads whose loss is the weighted mean over own-head logits, plus `other_heads` times that over all logits.

    Args:
        widths: classes of every head, in column order.
        counts: samples of every task in the batch (in the whole batch, where processes share it), or their mean.
        task_weights: what a sample of each task weighs, 1 when not given; only ratios matter.

    Raises:
        ValueError: the lists' lengths differ, a number is negative, or nothing has any weight.
    """
    weights = list(task_weights) if task_weights is not None else [1.0] * len(widths)
    if not len(widths) == len(counts) == len(weights):
        raise ValueError(f"{len(widths)} heads, {len(counts)} counts and {len(weights)} weights do not match")
    if min([*widths, *counts, *weights], default=0) < 0:
        raise ValueError("widths, counts and weights cannot be negative")
    samples = sum(weight * count for weight, count in zip(weights, counts, strict=True))
    logits = sum(weight * count * width for weight, count, width in zip(weights, counts, widths, strict=True))
    if logits <= 0:
        raise ValueError(f"no sample has any weight: widths {list(widths)}, counts {list(counts)}, weights {weights}")
    ends = torch.tensor(widths).cumsum(0)
    scale = torch.tensor(weights, dtype=torch.float64)
    heads = (
        ends - torch.tensor(widths),
        ends,
        (scale / logits).float(),
        (scale * (other_heads / (samples * sum(widths)))).float(),
    )
    return Heads(*(part.to(device) for part in heads))


@torch.no_grad()
def centred_heads(weight: Tensor, bias: Tensor, widths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weight and bias whose logits are centred within each head: a mean of linear functions is a linear function."""
    parts = zip(weight.split(list(widths)), bias.split(list(widths)), strict=True)
    centred = [(rows - rows.mean(0), offsets - offsets.mean()) for rows, offsets in parts]
    return torch.cat([rows for rows, _ in centred]), torch.cat([offsets for _, offsets in centred])


def own_columns(task_ids: Tensor, heads: Heads, classes: int) -> Tensor:
    """Bool [batch, classes of all heads]: the columns of each sample's own head."""
    columns = torch.arange(classes, device=task_ids.device)
    return (columns >= heads.starts[task_ids, None]) & (columns < heads.ends[task_ids, None])


# --- The plain reference: what both operators compute, with PyTorch's own derivatives ---------------------------------


def reference_loss(student: Tensor, target: Tensor, task_ids: Tensor, heads: Heads) -> Tensor:
    """The sum over samples i and logits c of weight[i, c] * (student - target)^2, in single precision or better.

    weight[i, c] = own_weights[task of i], if c is on the head of i's task, + all_weights[task of i].
    """
    error = _at_least_single(student) - _at_least_single(target)
    return (error.square() * _weights(task_ids, heads, student.shape[1])).sum()


def reference_target(teacher: Tensor, own: Tensor, limit: float, other_target: float | None) -> Tensor:
    """What the student should say: the teacher's logits within +-limit on a sample's own head, `other_target` (or
    the same as on the own head, when None) on the other heads.
    """
    limited = teacher.clamp(-limit, limit)
    return limited if other_target is None else torch.where(own, limited, other_target)


def _weights(task_ids: Tensor, heads: Heads, classes: int) -> Tensor:
    own = own_columns(task_ids, heads, classes)
    return heads.own_weights[task_ids, None] * own + heads.all_weights[task_ids, None]


def _at_least_single(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


# --- Logits against logits --------------------------------------------------------------------------------------------


@torch.library.custom_op("mygo_edge::distill_logits", mutates_args=())
def _distill_logits(
    student: Tensor,
    target: Tensor,
    task_ids: Tensor,
    starts: Tensor,
    ends: Tensor,
    own_weights: Tensor,
    all_weights: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """The loss and its gradient for the student's logits."""
    heads = Heads(starts, ends, own_weights, all_weights)
    if backend == "triton":
        from mygo_edge.kernels.distill_triton import distill_logits

        return distill_logits(student, target, task_ids, heads)
    error = _at_least_single(student) - _at_least_single(target)
    weighted = error * _weights(task_ids, heads, student.shape[1])
    return (weighted * error).sum(), (2 * weighted).to(student.dtype)


@_distill_logits.register_fake
def _(student: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return student.new_empty((), dtype=_loss_dtype(student)), torch.empty_like(student)


def _keep_gradients(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.arguments = len(inputs)  # type: ignore[attr-defined]


def _scale_gradients(ctx: torch.autograd.function.FunctionCtx, loss: Tensor | None, *_: object) -> tuple:
    """The gradients were made with the loss; only the loss's own gradient is missing."""
    kept = ctx.saved_tensors  # type: ignore[attr-defined]
    scaled = [None if loss is None else gradient * loss.to(gradient.dtype) for gradient in kept]
    return (*scaled, *[None] * (ctx.arguments - len(kept)))  # type: ignore[attr-defined]


def _loss_dtype(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


_distill_logits.register_autograd(_scale_gradients, setup_context=_keep_gradients)


def distillation_loss(
    student: Tensor, target: Tensor, task_ids: Tensor, heads: Heads, *, backend: str | None = None
) -> Tensor:
    """Weighted squared error of logits against logits; see `reference_loss`. Differentiable in `student`.

    Args:
        student, target: [batch, classes of all heads].
        task_ids: int64 [batch], each below the number of heads (not checked: the device would have to wait).
        backend: see `mygo_edge.kernels.backend.choose_backend`.

    Returns:
        A scalar, float32 (float64 for float64 logits).

    Raises:
        ValueError: shapes do not match.
        BackendError: the backend cannot run here.
    """
    if student.shape != target.shape or student.shape[:1] != task_ids.shape:
        raise ValueError(
            f"logits {tuple(student.shape)} and {tuple(target.shape)} and task ids {tuple(task_ids.shape)} do not match"
        )
    if torch.compiler.is_compiling():  # the compiler fuses the plain form better than it could an operator
        return reference_loss(student, target, task_ids, heads)
    chosen = choose_backend(backend, student.device.type)
    return _distill_logits(student, target.detach(), task_ids, *heads, chosen)[0]


# --- From features and heads ------------------------------------------------------------------------------------------


@torch.library.custom_op("mygo_edge::distill_heads", mutates_args=())
def _distill_heads(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    teacher_features: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor,
    task_ids: Tensor,
    starts: Tensor,
    ends: Tensor,
    own_weights: Tensor,
    all_weights: Tensor,
    limit: float,
    other_target: float | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss and its gradients for the student's features, weight and bias."""
    heads = Heads(starts, ends, own_weights, all_weights)
    teacher = Teacher(teacher_features, teacher_weight, teacher_bias)
    if backend == "triton":
        from mygo_edge.kernels.distill_triton import distill_heads

        return distill_heads(features, weight, bias, teacher, task_ids, heads, limit, other_target)
    own = own_columns(task_ids, heads, len(weight))
    target = reference_target(torch.addmm(teacher.bias, teacher.features, teacher.weight.T), own, limit, other_target)
    error = _at_least_single(torch.addmm(bias, features, weight.T)) - _at_least_single(target)
    weighted = error * (heads.own_weights[task_ids, None] * own + heads.all_weights[task_ids, None])
    gradient = (2 * weighted).to(features.dtype)
    return (weighted * error).sum(), gradient @ weight, gradient.T @ features, gradient.sum(0)


@_distill_heads.register_fake
def _(features: Tensor, weight: Tensor, bias: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    features, weight, bias = (
        torch.empty_like(part, memory_format=torch.contiguous_format) for part in (features, weight, bias)
    )
    return features.new_empty((), dtype=_loss_dtype(features)), features, weight, bias


_distill_heads.register_autograd(_scale_gradients, setup_context=_keep_gradients)


def head_distillation_loss(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    teacher: Teacher,
    task_ids: Tensor,
    heads: Heads,
    *,
    limit: float = float("inf"),
    other_target: float | None = None,
    backend: str | None = None,
) -> Tensor:
    """`distillation_loss` of features @ weight.T + bias against the teacher's logits, without keeping any logits.

    On a sample's own head the target is the teacher's logit within +-limit; on the other heads it is `other_target`,
    or again the teacher's logit where that is None. Teachers that are centred have it in their weights
    (`centred_heads`). Differentiable in features, weight and bias; the teacher is frozen. Sums have a fixed order.

    Args:
        features: [batch, features]; weight: [classes of all heads, features]; bias: [classes].
        task_ids: int64 [batch], each below the number of heads (not checked: the device would have to wait).
        backend: see `mygo_edge.kernels.backend.choose_backend`.

    Returns:
        A scalar, float32 (float64 for float64 features).

    Raises:
        ValueError: shapes do not match.
        BackendError: the backend cannot run here.
    """
    shapes = [tuple(part.shape) for part in (features, weight, bias, *teacher, task_ids)]
    (batch, inner), classes = features.shape, len(weight)
    if shapes != [(batch, inner), (classes, inner), (classes,)] * 2 + [(batch,)]:
        raise ValueError(f"features, weight and bias of student and teacher, and task ids do not match: {shapes}")
    # In mixed precision features come in half precision and heads in single.
    weight, bias = weight.to(features.dtype), bias.to(features.dtype)
    teacher = Teacher(*(part.detach().to(features.dtype) for part in teacher))
    if torch.compiler.is_compiling():
        own = own_columns(task_ids, heads, classes)
        target = reference_target(teacher.features @ teacher.weight.T + teacher.bias, own, limit, other_target)
        return reference_loss(features @ weight.T + bias, target, task_ids, heads)
    chosen = choose_backend(backend, features.device.type)
    with torch.autocast(features.device.type, enabled=False):
        return _distill_heads(features, weight, bias, *teacher, task_ids, *heads, limit, other_target, chosen)[0]
