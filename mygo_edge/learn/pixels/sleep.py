"""Sleep: old and new knowledge are distilled into shared features and all heads, from dreams alone."""

import math
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mygo_edge.domains.domain import LearntDomain
from mygo_edge.learn.fit import Descent, fit
from mygo_edge.learn.phase import Phase, freeze
from mygo_edge.learn.pixels.calibration import calibrate
from mygo_edge.learn.pixels.distillation import DistillationTarget, centred_heads, distillation_loss, head_errors
from mygo_edge.learn.pixels.lessons import Lessons, plan_dreams
from mygo_edge.learn.randomness import derived_seed
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.model.network import NeocortexNet
from mygo_edge.options import SleepOptions

CALIBRATION_DREAMS = 1500  # of each task
DREAM_STREAM = 1000  # sleeps dream in streams 1000, 1001, ...; evaluation keeps to those below
RELEARNING = 20  # times the steps of a sleep, for a network that starts from nothing


@dataclass(frozen=True, slots=True)
class SleepReport:
    """What a sleep did.

    loss_first, loss_last: of the student before its first step and after its last, each on fresh dreams.
    feature_change: how far the shared features' weights came from the network before the sleep, relative to their norm.
    moved_by_dreams: the same, from where the student started, which is the expert's features.
    dreams: how many were learnt from.
    """

    loss_first: float
    loss_last: float
    feature_change: float
    moved_by_dreams: float
    dreams: int


def sleep(
    net: NeocortexNet,
    expert: NeocortexNet,
    memory: GenerativeMemory,
    domain: LearntDomain,
    options: SleepOptions,
    phase: Phase,
) -> SleepReport:
    """Consolidate the newest task (the last head of `net`) into `net`, in place, without any real data."""
    before = flat_features(net)
    consolidation = Consolidation(net, expert, memory, domain, options, phase)
    started_from = flat_features(net)
    loss_first = consolidation.loss_at(0)
    net.requires_grad_(True)
    fit(consolidation.descent(), phase)
    freeze(net)
    after = flat_features(net)
    loss_last = consolidation.loss_at(consolidation.total)
    phase.require_finite(consolidation.total, loss_last=loss_last)  # the last step may be the one that diverges
    consolidation.calibrate()
    return SleepReport(
        loss_first,
        loss_last,
        feature_change=float((after - before).norm() / before.norm()),
        moved_by_dreams=float((after - started_from).norm() / started_from.norm()),
        dreams=consolidation.total * consolidation.plan.batch_size,
    )


def relearn(
    net: NeocortexNet,
    fresh: NeocortexNet,
    memory: GenerativeMemory,
    domain: LearntDomain,
    options: SleepOptions,
    phase: Phase,
) -> NeocortexNet:
    """`fresh`, a network without heads, after it learnt from dreams of all tasks what `net` says to them.

    It holds what the dreams show and the answers to them, and nothing else of `net`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(phase.seed, "relearning"))
        for width in net.widths:
            fresh.add_task_head(width)
    student = deepcopy(net)
    consolidation = Consolidation(student, fresh, memory, domain, options, phase, anew=True)
    student.requires_grad_(True)
    fit(consolidation.descent(), phase)
    freeze(student)
    consolidation.calibrate()
    return student


class Consolidation:
    """What a sleep teaches `net`, the student, of what, and in how many steps.

    The teacher is `net` as it was for dreams of old tasks, and `expert` for dreams of the new one. The first sleep has
    nothing old to protect: the student takes the expert over as it is.

    Args:
        expert: where the student starts.
        anew: the expert knows nothing yet: `net` teaches all tasks, in more steps.
    """

    def __init__(
        self,
        net: NeocortexNet,
        expert: NeocortexNet,
        memory: GenerativeMemory,
        domain: LearntDomain,
        options: SleepOptions,
        phase: Phase,
        *,
        anew: bool = False,
    ) -> None:
        self._net, self._options, self._phase = net, options, phase
        new = len(net.classifiers) - (0 if anew else 1)
        old_teacher = freeze(deepcopy(net))
        self._published = options.teacher == "published" and not anew
        new_teacher = old_teacher if self._published or anew else freeze(expert)
        self._target = distillation_target(old_teacher, new_teacher, options)
        self.plan = plan_dreams(len(memory), options.dreams_per_task, options.batch_size)
        counts = [count / self.plan.steps for count in self.plan.counts]
        weights = self.plan.task_weights
        others = 0.0 if self._published else options.other_heads  # as published: each dream's own head only
        entropy = options.task_entropy if others else 0.0
        self._errors = head_errors(
            net.widths, counts, other_heads=others, task_entropy=entropy, task_weights=weights, device=phase.device
        )
        self.total = options.steps
        if not self._published:
            # The student starts as the expert, which knows the new task first hand; dreams bring the old ones back.
            net.load_state_dict(expert.state_dict())
            self.total = options.steps if new else 0  # nothing old to bring back in the first sleep
        if anew:
            self.total = RELEARNING * options.steps
        self._teachers = old_teacher.features, new_teacher.features
        self._lessons = partial(
            Lessons,
            memory,
            self.plan,
            new_task=new,
            seed=phase.seed,
            stream=DREAM_STREAM + new,
            width=net.width,
            augmented=partial(domain.augmented_dreams, share=options.shift),
        )

    def loss_of(self, dreams: Tensor, teacher_features: Tensor, task_ids: Tensor) -> Tensor:
        """The student's loss on a lesson."""
        features = self._net.features(dreams)
        # The answers in single precision, whatever the features are in: they are a small part of the work.
        with torch.autocast(dreams.device.type, enabled=False):
            logits = self._net.logits(features.float())
            return distillation_loss(logits, teacher_features.float(), self._target, task_ids, self._errors)

    @torch.no_grad()
    def loss_at(self, step: int) -> float:
        """The student's loss, as it is now, on a step's dreams of all processes."""
        return float(self.loss_of(*self._lessons(*self._teachers)(step)))

    @torch.no_grad()
    def calibrate(self) -> None:
        """Make the student's heads comparable, on dreams that no step sees; as published, nothing is changed."""
        if not self._options.calibrate or self._published or len(self._net.widths) == 1:
            return
        rounds = -(-CALIBRATION_DREAMS // min(self.plan.counts))
        first = -(-(self.total + 1) // self.plan.steps)  # `loss_at` takes the step before
        # By itself, in place of its teachers.
        lessons = self._lessons(self._net.features, self._net.features, ahead_bytes=self._ahead_bytes)
        seen = [lesson[1:] for lesson in lessons.of_rounds(first, rounds)]
        features, task_ids = (torch.cat(parts) for parts in zip(*seen, strict=True))
        calibrate(self._net, features, task_ids)

    @property
    def _ahead_bytes(self) -> float:
        """The published teacher is the student: it has to see the very batches that the student sees."""
        return 0.0 if self._published else self._options.ahead_megabytes * 1e6

    def descent(self) -> Descent:
        """The steps that the student, whose weights must be trainable by now, takes."""
        ahead = self._ahead_bytes
        share = self._lessons(*self._teachers, total=self.total, ahead_bytes=ahead, team=self._phase.team)
        rate = self._options.learning_rate
        return Descent(self._net.parameters(), self.loss_of, share, self.total, rate, self._phase, student=self._net)


@torch.no_grad()
def distillation_target(
    old_teacher: NeocortexNet, new_teacher: NeocortexNet, options: SleepOptions
) -> DistillationTarget:
    """On the head of a dream's own task the student should say what the teacher says: the old teacher for old tasks,
    the new one for the last head; centred, because softmax ignores a head's mean but arg max over all heads does not,
    and limited, because the squared error would else be spent on how sure a sure answer is. All other heads should
    be low on average. Whose dream it is, is known, so a teacher's confusion of tasks is not handed on.
    """
    weight, bias = old_teacher.stacked_heads()
    if options.teacher == "published":
        return DistillationTarget(weight, bias, math.inf, options.other_target)  # what the student says already
    newest = old_teacher.widths[-1]
    new_weight, new_bias = new_teacher.stacked_heads()
    weight = torch.cat([weight[:-newest], new_weight[-newest:]])
    bias = torch.cat([bias[:-newest], new_bias[-newest:]])
    weight, bias = centred_heads(weight, bias, old_teacher.widths)
    return DistillationTarget(weight, bias, options.logit_limit, options.other_target)


@torch.no_grad()
def flat_features(net: NeocortexNet) -> Tensor:
    """All weights of the shared features in one vector."""
    return torch.cat([weight.flatten() for weight in net.features.parameters()]).clone()
