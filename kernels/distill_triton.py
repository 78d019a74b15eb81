"""Triton's kernels of `distill.py`: one pass gives the loss and the gradients, and no logits are written.

Every sum is made in one fixed order and nothing is added atomically, so equal inputs give equal bits. The gradient of
the heads sums over samples: a program takes one tile of classes and one fixed share of the batch, and the shares are
added afterwards. Blocks come from a fixed table, because tuning runs cannot be part of a captured CUDA graph.
Offsets are 64-bit throughout. Not yet run on a GPU; tested through Triton's interpreter.
"""

# mypy: disallow-untyped-defs=False

import os
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mygo_edge.kernels.distill import Heads, Teacher

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Blocks(NamedTuple):
    """Tile sizes, powers of two of at least 16 (a tensor core's least), and how many samples one share has."""

    batch: int
    classes: int
    features: int
    share: int


def blocks_for(classes: int, features: int) -> Blocks:
    """The fixed table."""
    return Blocks(
        batch=32,
        classes=16 if classes <= 16 else 32,
        features=min(256, max(16, triton.next_power_of_2(features))),
        share=256,
    )


@triton.jit
def _logits(
    features, weight, bias, rows, in_batch, columns, in_classes, inner,
    BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """features[rows] @ weight[columns].T + bias[columns], [BLOCK_B, BLOCK_C] in fp32."""
    sums = tl.zeros((BLOCK_B, BLOCK_C), tl.float32)
    for start in range(0, inner, BLOCK_F):
        inside = start + tl.arange(0, BLOCK_F).to(tl.int64)
        ok = inside < inner
        left = tl.load(features + rows[:, None] * inner + inside, mask=in_batch[:, None] & ok, other=0.0)
        right = tl.load(weight + columns[:, None] * inner + inside, mask=in_classes[:, None] & ok, other=0.0)
        if UPCAST:  # the interpreter's product of bf16 tiles is wrong
            left, right = left.to(tl.float32), right.to(tl.float32)
        sums = tl.dot(left, tl.trans(right), acc=sums, input_precision="ieee")
    return sums + tl.load(bias + columns, mask=in_classes, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _weights(rows, in_batch, columns, in_classes, tasks, starts, ends, own_weights, all_weights):
    """Whether a logit is on the sample's own head, and the weight of its squared error, [BLOCK_B, BLOCK_C]."""
    task = tl.load(tasks + rows, mask=in_batch, other=0)
    start, end = tl.load(starts + task), tl.load(ends + task)
    own = (columns[None, :] >= start[:, None]) & (columns[None, :] < end[:, None])
    own = own & in_batch[:, None]
    weight = tl.where(own, tl.load(own_weights + task)[:, None], 0.0) + tl.load(all_weights + task)[:, None]
    return own, tl.where(in_batch[:, None] & in_classes[None, :], weight, 0.0)


@triton.jit
def _errors(
    features, weight, bias, teacher_features, teacher_weight, teacher_bias,
    tasks, starts, ends, own_weights, all_weights, rows, in_batch, columns, in_classes, inner, limit, other_target,
    TEACH_ALL: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Student minus target, and the weights, for one tile."""
    own, weights = _weights(rows, in_batch, columns, in_classes, tasks, starts, ends, own_weights, all_weights)
    student = _logits(
        features, weight, bias, rows, in_batch, columns, in_classes, inner, BLOCK_B, BLOCK_C, BLOCK_F, UPCAST
    )
    target = tl.zeros((BLOCK_B, BLOCK_C), tl.float32) + other_target
    # Samples come task by task, so few tiles meet the own head of one of their samples.
    if TEACH_ALL or tl.max(tl.max(own.to(tl.int32), 1), 0) > 0:
        teacher = _logits(
            teacher_features, teacher_weight, teacher_bias, rows, in_batch, columns, in_classes, inner,
            BLOCK_B, BLOCK_C, BLOCK_F, UPCAST,
        )  # fmt: skip
        limited = tl.minimum(tl.maximum(teacher, -limit), limit)
        target = limited if TEACH_ALL else tl.where(own, limited, target)
    return student - target, weights


@triton.jit
def _by_rows_kernel(
    features, weight, bias, teacher_features, teacher_weight, teacher_bias,
    tasks, starts, ends, own_weights, all_weights, losses, d_features, batch, classes, inner, limit, other_target,
    TEACH_ALL: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """The loss of a tile of samples, and a tile of the gradient for their features. Walks over all classes."""
    block, part = tl.program_id(0), tl.program_id(1)
    rows = block.to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    inside = part.to(tl.int64) * BLOCK_F + tl.arange(0, BLOCK_F)
    in_batch, ok = rows < batch, inside < inner
    loss = tl.zeros((BLOCK_B,), tl.float32)
    sums = tl.zeros((BLOCK_B, BLOCK_F), tl.float32)
    for start in range(0, classes, BLOCK_C):
        columns = start + tl.arange(0, BLOCK_C).to(tl.int64)
        in_classes = columns < classes
        error, weights = _errors(
            features, weight, bias, teacher_features, teacher_weight, teacher_bias,
            tasks, starts, ends, own_weights, all_weights, rows, in_batch, columns, in_classes, inner, limit,
            other_target, TEACH_ALL, BLOCK_B, BLOCK_C, BLOCK_F, UPCAST,
        )  # fmt: skip
        loss += tl.sum(weights * error * error, 1)
        right = tl.load(weight + columns[:, None] * inner + inside, mask=in_classes[:, None] & ok, other=0.0)
        if UPCAST:
            right = right.to(tl.float32)
        sums = tl.dot((2.0 * weights * error).to(right.dtype), right, acc=sums, input_precision="ieee")
    where = d_features + rows[:, None] * inner + inside
    tl.store(where, sums.to(d_features.dtype.element_ty), mask=in_batch[:, None] & ok)
    if part == 0:
        tl.store(losses + block, tl.sum(loss, 0))


@triton.jit
def _by_classes_kernel(
    features, weight, bias, teacher_features, teacher_weight, teacher_bias,
    tasks, starts, ends, own_weights, all_weights, d_weight, d_bias, batch, classes, inner, share, limit, other_target,
    TEACH_ALL: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """A tile of the gradient for the heads, summed over one share of the batch in the samples' order."""
    tile, part, number = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    columns = tile.to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = part.to(tl.int64) * BLOCK_F + tl.arange(0, BLOCK_F)
    in_classes, ok = columns < classes, inside < inner
    sums = tl.zeros((BLOCK_C, BLOCK_F), tl.float32)
    bias_sums = tl.zeros((BLOCK_C,), tl.float32)
    for start in range(0, share, BLOCK_B):
        rows = number * share + start + tl.arange(0, BLOCK_B).to(tl.int64)
        in_batch = rows < batch
        error, weights = _errors(
            features, weight, bias, teacher_features, teacher_weight, teacher_bias,
            tasks, starts, ends, own_weights, all_weights, rows, in_batch, columns, in_classes, inner, limit,
            other_target, TEACH_ALL, BLOCK_B, BLOCK_C, BLOCK_F, UPCAST,
        )  # fmt: skip
        gradient = 2.0 * weights * error
        bias_sums += tl.sum(gradient, 0)
        right = tl.load(features + rows[:, None] * inner + inside, mask=in_batch[:, None] & ok, other=0.0)
        if UPCAST:
            right = right.to(tl.float32)
        sums = tl.dot(tl.trans(gradient.to(right.dtype)), right, acc=sums, input_precision="ieee")
    where = d_weight + (number * classes + columns[:, None]) * inner + inside
    tl.store(where, sums, mask=in_classes[:, None] & ok)
    if part == 0:
        tl.store(d_bias + number * classes + columns, bias_sums, mask=in_classes)


def distill_heads(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    teacher: Teacher,
    task_ids: Tensor,
    heads: Heads,
    limit: float,
    other_target: float | None,
    blocks: Blocks | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator `mygo_edge::distill_heads`: loss, and gradients for features, weight and bias.

    Raises:
        TypeError: dtypes that the kernels do not have, or that differ.
    """
    inputs = [part.contiguous() for part in (features, weight, bias, *teacher)]
    _check_dtypes(inputs)
    (batch, inner), classes = features.shape, len(weight)
    block = blocks or blocks_for(classes, inner)
    tiles, parts = triton.cdiv(batch, block.batch), triton.cdiv(inner, block.features)
    shares = triton.cdiv(batch, block.share)
    losses = torch.empty(tiles, dtype=torch.float32, device=features.device)
    d_features = torch.empty_like(inputs[0])
    d_weight = torch.empty(shares, classes, inner, dtype=torch.float32, device=features.device)
    d_bias = torch.empty(shares, classes, dtype=torch.float32, device=features.device)
    common = (*inputs, task_ids.contiguous(), *(part.contiguous() for part in heads))
    rule = (limit, 0.0 if other_target is None else other_target, other_target is None)
    tile = {"BLOCK_B": block.batch, "BLOCK_C": block.classes, "BLOCK_F": block.features, "UPCAST": INTERPRETED}
    if tiles:
        _by_rows_kernel[(tiles, parts)](*common, losses, d_features, batch, classes, inner, *rule, **tile)
        grid = (triton.cdiv(classes, block.classes), parts, shares)
        _by_classes_kernel[grid](*common, d_weight, d_bias, batch, classes, inner, block.share, *rule, **tile)
    return losses.sum(), d_features, d_weight.sum(0).to(weight.dtype), d_bias.sum(0).to(bias.dtype)


@triton.jit
def _logits_kernel(
    student, target, tasks, starts, ends, own_weights, all_weights, losses, d_student, batch, classes,
    BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The loss of a tile of samples and the gradient for their logits."""
    block = tl.program_id(0)
    rows = block.to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    in_batch = rows < batch
    loss = tl.zeros((BLOCK_B,), tl.float32)
    for start in range(0, classes, BLOCK_C):
        columns = start + tl.arange(0, BLOCK_C).to(tl.int64)
        in_classes = columns < classes
        _, weights = _weights(rows, in_batch, columns, in_classes, tasks, starts, ends, own_weights, all_weights)
        where, ok = rows[:, None] * classes + columns, in_batch[:, None] & in_classes
        said = tl.load(student + where, mask=ok, other=0.0).to(tl.float32)
        error = said - tl.load(target + where, mask=ok, other=0.0).to(tl.float32)
        loss += tl.sum(weights * error * error, 1)
        tl.store(d_student + where, (2.0 * weights * error).to(d_student.dtype.element_ty), mask=ok)
    tl.store(losses + block, tl.sum(loss, 0))


def distill_logits(
    student: Tensor, target: Tensor, task_ids: Tensor, heads: Heads, block_batch: int = 32, block_classes: int = 64
) -> tuple[Tensor, Tensor]:
    """The operator `mygo_edge::distill_logits`: loss, and gradient for the student's logits.

    Raises:
        TypeError: a dtype that the kernel does not have.
    """
    student, target = student.contiguous(), target.contiguous()
    _check_dtypes([student])
    batch, classes = student.shape
    tiles = triton.cdiv(batch, block_batch)
    losses = torch.empty(tiles, dtype=torch.float32, device=student.device)
    d_student = torch.empty_like(student)
    tables = (task_ids.contiguous(), *(part.contiguous() for part in heads))
    if tiles:
        sizes = {"BLOCK_B": block_batch, "BLOCK_C": block_classes}
        _logits_kernel[(tiles,)](student, target, *tables, losses, d_student, batch, classes, **sizes)
    return losses.sum(), d_student


def _check_dtypes(tensors: list[Tensor]) -> None:
    kinds = {tensor.dtype for tensor in tensors}
    if len(kinds) > 1 or not kinds <= set(DTYPES):
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise TypeError(f"the Triton kernels take one of float32, float16 and bfloat16, not {names}; use backend torch")
