"""Sleeps and memories of other forms than those that are shipped, to see what they are worth.

    python -m bench.forms FORM OPTIONS ...

The options are those of `python -m mygo_edge.train`, for runs of images whose memory is a GAN. bench/mnist.py has the
runs, docs/results.md what came of them. A run that was stopped has to begin anew.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import linear

from mygo_edge.errors import run_command
from mygo_edge.learn.phase import freeze
from mygo_edge.learn.pixels import memorise, sleep
from mygo_edge.learn.pixels.calibration import calibrate
from mygo_edge.learn.pixels.distillation import DistillationTarget, HeadErrors
from mygo_edge.learn.pixels.lessons import Lesson, Lessons, by_chunks
from mygo_edge.model.network import NeocortexNet
from mygo_edge.train import main as train

Patches = list[Any]
SHIFT = 2  # pixels of 28, in the critic's augmentation


class LabelledLessons(Lessons):
    """Lessons whose teacher's features have a column more: the class that was asked for, counted over all heads."""

    @torch.no_grad()
    def _prepare(self, begin: int, count: int, place: int) -> list[Lesson]:
        lessons = super()._prepare(begin, count, place)
        rank, world = self._plan.part(place, self._team)
        dreams = self._memory.dream(
            self._plan.counts, seed=self._seed, stream=self._stream, step=begin, steps=count, part=(rank, world)
        )
        widths = torch.tensor([0, *(len(one.class_bias) for one in self._memory.generators)])
        asked = (dreams.class_ids + widths.cumsum(0)[dreams.task_ids]).unflatten(0, (count, -1))
        return [
            Lesson(images, torch.cat([features, labels[:, None].to(features.dtype)], 1), task_ids)
            for (images, features, task_ids), labels in zip(lessons, asked, strict=True)
        ]


def loss_in_form(
    logits: Tensor,
    teacher_features: Tensor,
    target: DistillationTarget,
    task_ids: Tensor,
    errors: HeadErrors,
    *,
    form: str,
) -> Tensor:
    """`mygo_edge.learn.pixels.distillation.distillation_loss`, changed as `form` says."""
    width = target.weight.shape[1]
    features, asked = teacher_features[:, :width], teacher_features[:, width:]
    heads, rows = torch.arange(len(errors.own_weights)), torch.arange(len(logits))
    own_class = errors.head_of_class == task_ids[:, None]
    taught = linear(features, target.weight, target.bias).clamp(-target.limit, target.limit).detach()
    weights = torch.ones(len(logits))
    if len(asked[0]):
        labels = asked[:, 0].long()
        agree = taught.masked_fill(~own_class, -torch.inf).argmax(1) == labels
        if form == "labels":
            named = torch.zeros_like(taught)
            named[rows, labels] = 2 * target.limit
            means = (named * own_class).sum(1) / own_class.sum(1)
            taught = torch.where(agree[:, None], named - means[:, None], taught)
        if form == "rejected":
            weights = agree.float() * len(agree) / agree.sum().clamp_min(1)
    if form == "logsumexp":
        claims = [
            logits.masked_fill(errors.head_of_class != head, -torch.inf).logsumexp(1) for head in range(len(heads))
        ]
        said = torch.stack(claims, 1)
    else:
        said = linear(logits, errors.averaging)
    own = torch.where(own_class, logits - taught, 0.0).square().sum(1)
    other = torch.where(heads == task_ids[:, None], 0.0, said - target.other_target).square().sum(1)
    surprise = logits.logsumexp(1) - logits.masked_fill(~own_class, -torch.inf).logsumexp(1)
    squares = errors.own_weights[task_ids] * own + errors.other_weights[task_ids] * other
    return (weights * (squares + errors.entropy_weights[task_ids] * surprise)).sum()


def calibrate_without_labels(net: NeocortexNet, features: Tensor, task_ids: Tensor) -> None:
    calibrate(net, features[:, : net.width], task_ids)


class ExpertLessons(Lessons):
    """Lessons in which dreams of every task are seen by the expert of that task."""

    experts: ClassVar[list[NeocortexNet]] = []

    @torch.no_grad()
    def _prepare(self, begin: int, count: int, place: int) -> list[Lesson]:
        lessons = super()._prepare(begin, count, place)
        if self._old_features is self._new_features:  # a student that sees for itself, to be calibrated
            return lessons
        parts = list(self._plan.counts)
        inputs = torch.stack([lesson.dreams for lesson in lessons])  # [rounds, batch, *shape]
        seen = [
            by_chunks(expert.features, part.contiguous(), self._width)
            for expert, part in zip(self.experts, inputs.split(parts, 1), strict=True)
        ]
        features = torch.cat(seen, 1)
        return [lesson._replace(teacher_features=part) for lesson, part in zip(lessons, features, strict=True)]


def target_of_experts(old: NeocortexNet, new: NeocortexNet, options: Any) -> DistillationTarget:
    """As `distillation_target`, with the head of each task as its own expert had it."""
    assert len(ExpertLessons.experts) == len(new.widths) - 1
    ExpertLessons.experts.append(freeze(new))
    heads = [expert.classifiers[index] for index, expert in enumerate(ExpertLessons.experts)]
    weight, bias = torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])
    weight, bias = sleep.centred_heads(weight.detach(), bias.detach(), new.widths)
    return DistillationTarget(weight, bias, options.logit_limit, options.other_target)


class Shifted(nn.Module):
    """A critic that sees every image, real or dreamt, shifted at random (Zhao et al. 2020, "Differentiable
    augmentation for data-efficient GAN training": translation), with the gradient through the shift.
    """

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic
        self.source = torch.Generator().manual_seed(0)

    def forward(self, images: Tensor, class_ids: Tensor) -> Tensor:
        moves = torch.randint(-SHIFT, SHIFT + 1, (2, len(images)), generator=self.source)
        padded = F.pad(images, (SHIFT,) * 4, value=-1.0)
        height, width = images.shape[2:]
        rows = (torch.arange(height) + SHIFT + moves[0][:, None])[:, None, :, None]
        columns = (torch.arange(width) + SHIFT + moves[1][:, None])[:, None, None, :]
        batch, channel = torch.arange(len(images))[:, None, None, None], torch.arange(images.shape[1])[:, None, None]
        shifted: Tensor = self.critic(padded[batch, channel, rows, columns], class_ids)
        return shifted


class ShiftedGAN(memorise.GAN):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._critic = Shifted(self._critic)  # type: ignore[assignment]


def _of_loss(form: str) -> Patches:
    return [patch.object(sleep, "distillation_loss", partial(loss_in_form, form=form))]


def _with_labels(form: str) -> Patches:
    lessons = [
        patch.object(sleep, "Lessons", LabelledLessons),
        patch.object(sleep, "calibrate", calibrate_without_labels),
    ]
    return [*_of_loss(form), *lessons]


FORMS: dict[str, Callable[[], Patches]] = {
    "logsumexp": partial(_of_loss, "logsumexp"),
    "labels": partial(_with_labels, "labels"),
    "rejected": partial(_with_labels, "rejected"),
    "experts": lambda: [
        patch.object(sleep, "Lessons", ExpertLessons),
        patch.object(sleep, "distillation_target", target_of_experts),
    ],
    "shifted-critic": lambda: [patch.object(memorise, "GAN", ShiftedGAN)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of python -m mygo_edge.train")
    given = parser.parse_args()
    for one in FORMS[given.form]():
        one.start()
    run_command(lambda: train(given.options))


if __name__ == "__main__":
    main()
