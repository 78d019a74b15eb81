"""Sleep: old and new knowledge are distilled into shared features and all heads, from dreams alone."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from mygo_edge.kernels.distill import distillation_loss
from mygo_edge.kernels.dream import DreamBatch
from mygo_edge.kernels.philox import below
from mygo_edge.learn.phase import Phase, freeze, one_cycle, set_learning_rate
from mygo_edge.learn.randomness import shift, shift_pixels
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.model.network import NeocortexNet
from mygo_edge.options import SleepOptions

DREAM_STREAM = 1000  # sleeps dream in streams 1000, 1001, ...; evaluation keeps to those below


@dataclass(frozen=True, slots=True)
class SleepReport:
    """What a sleep did.

    loss_first, loss_last: of the student before its first step and after its last, each on fresh dreams.
    feature_change: how far the shared features' weights came from the network before the sleep, relative to their norm.
    moved_by_dreams: the same, from where the student started, which is the expert's features.
    dreams: how many were used.
    """

    loss_first: float
    loss_last: float
    feature_change: float
    moved_by_dreams: float
    dreams: int


def sleep(
    net: NeocortexNet, expert: NeocortexNet, memory: GenerativeMemory, options: SleepOptions, phase: Phase
) -> SleepReport:
    """Consolidate the newest task (the last head of `net`) into `net`, in place.

    The teacher is `net` as it was for dreams of old tasks, and `expert` for dreams of the new one. No real data is
    used. The first sleep has nothing old to protect: it takes the expert over as it is.
    """
    new = len(net.classifiers) - 1
    old_teacher = freeze(deepcopy(net))
    new_teacher = old_teacher if options.teacher == "published" else freeze(expert)
    heads = own_heads(net.widths, phase.device)

    def loss_of(student: NeocortexNet, step: int) -> Tensor:
        dreams = memory.dream(
            [options.dreams_per_task] * len(memory), seed=phase.seed, stream=DREAM_STREAM + new, step=step
        )
        images = shifted(dreams, options.shift)
        own = heads[dreams.task_ids]
        target = teach(images, new * options.dreams_per_task, own, old_teacher, new_teacher, options)
        return distillation_loss(student(images).float(), target.float(), own, options.other_heads)

    total = options.steps
    if options.teacher == "expert":
        # The student wakes up as the expert, which knows the new task first hand, and dreams bring the old ones back.
        net.load_state_dict(expert.state_dict())
        total = options.steps if new else 0  # nothing old to bring back in the first sleep
    started_from = flat_features(net)
    with torch.no_grad():
        loss_first = float(loss_of(net, 0))
    net.requires_grad_(True)
    optimiser = torch.optim.Adam(net.parameters(), options.learning_rate, fused=True)
    for step in phase.steps(total, student=net, optimiser=optimiser):
        set_learning_rate(optimiser, one_cycle(step, total, options.learning_rate))
        loss = loss_of(net, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        phase.log(step, loss=loss)
    freeze(net)
    with torch.no_grad():
        loss_last = float(loss_of(net, total))
    before, after = flat_features(old_teacher), flat_features(net)
    return SleepReport(
        loss_first,
        loss_last,
        feature_change=float((after - before).norm() / before.norm()),
        moved_by_dreams=float((after - started_from).norm() / started_from.norm()),
        dreams=total * options.dreams_per_task * len(memory),
    )


@torch.no_grad()
def teach(
    images: Tensor,
    old_dreams: int,
    own: Tensor,
    old_teacher: NeocortexNet,
    new_teacher: NeocortexNet,
    options: SleepOptions,
) -> Tensor:
    """What the student should say of each dream, [batch, classes of all heads].

    On the head of the dream's own task (`own`, bool of the same shape): the logits of the old teacher for the first
    `old_dreams` images, of the new teacher for the rest; centred, because softmax ignores a head's mean but arg max
    over all heads does not, and limited, because the squared error would else be spent on how sure a sure answer is.
    On all other heads: a low constant. Whose dream it is, is known, so a teacher's confusion of tasks is not handed on.
    """
    if options.teacher == "published":
        return old_teacher(images)  # what the student says already
    logits = new_teacher(images[old_dreams:])
    if old_dreams:
        logits = torch.cat([old_teacher(images[:old_dreams]), logits])
    centred = logits - (logits * own).sum(1, keepdim=True) / own.sum(1, keepdim=True)
    limited = centred.clamp(-options.logit_limit, options.logit_limit)
    return torch.where(own, limited, options.other_target)


def shifted(dreams: DreamBatch, share: float) -> Tensor:
    """The dreams' images, each moved by an offset that is part of the dream."""
    most = shift_pixels(share, dreams.images)
    return shift(dreams.images, below(dreams.decisions, 2 * most + 1) - most) if most else dreams.images


def own_heads(widths: list[int], device: torch.device) -> Tensor:
    """Bool [tasks, classes of all heads]: which columns belong to a task's own head."""
    owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))
    return (owner == torch.arange(len(widths))[:, None]).to(device)


@torch.no_grad()
def flat_features(net: NeocortexNet) -> Tensor:
    """All weights of the shared features in one vector."""
    return torch.cat([weight.flatten() for weight in net.features.parameters()]).clone()
