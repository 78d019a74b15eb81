"""What dreams are worth: label fidelity, and the classification accuracy score."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.domains.domain import LearntDomain
from mygo_edge.learn.phase import Phase, freeze
from mygo_edge.learn.pixels.methods import add_heads_for, fit_classifier, fit_jointly, new_net
from mygo_edge.measure.accuracy import BATCH, accuracies, answers_on_tests
from mygo_edge.model.network import NeocortexNet
from mygo_edge.options import MeasureOptions, WakeOptions

FIDELITY_STREAM, SCORE_STREAM, PICTURE_STREAM = 1, 2, 3  # below the sleeps' streams
SCORE_BATCH = 128
_AHEAD = 8  # steps whose dreams are made at once
# The yardsticks do not depend on the options of the learner that they measure.
YARDSTICK = WakeOptions()
JUDGE_SEED = 7919  # apart from the learners' seeds, and the same for every method


def train_judge(tasks: Sequence[Task], domain: LearntDomain, phase: Phase) -> NeocortexNet:
    """A classifier of all tasks' classes, trained on their real data: evaluation only."""
    net = new_net(domain, JUDGE_SEED, phase.device, "judge")
    add_heads_for(net, tasks, JUDGE_SEED)
    fit_jointly(net, tasks, domain, YARDSTICK, phase)
    return freeze(net)


@torch.no_grad()
def label_fidelity(method: Any, task: int, judge: NeocortexNet, dreams_per_class: int, phase: Phase) -> float:
    """Share of a task's dreams that `judge` gives the asked-for class, among the classes of all tasks."""
    offset, left, right = sum(judge.widths[:task]), dreams_per_class * judge.widths[task], 0
    total = left
    for part in range(-(-total // BATCH)):
        dreams, class_ids = method.dream(task, min(left, BATCH), stream=FIDELITY_STREAM, step=part)
        phase.breathe()
        right += int((judge(dreams).argmax(1) == class_ids + offset).sum())
        left -= BATCH
    return right / total


def classification_accuracy_score(method: Any, tasks: Sequence[Task], options: MeasureOptions, phase: Phase) -> float:
    """Test accuracy, task unknown, of a fresh classifier trained on dreams alone (Ravuri & Vinyals 2019)."""
    net = new_net(method.domain, JUDGE_SEED, phase.device, "score")
    add_heads_for(net, tasks, JUDGE_SEED)
    widths = net.widths
    ends = [SCORE_BATCH * sum(widths[: t + 1]) // sum(widths) for t in range(len(tasks))]
    counts = [end - start for start, end in pairwise([0, *ends])]  # dreams of each task, as many a class

    @lru_cache(maxsize=1)
    def block(number: int) -> list[tuple[Tensor, Tensor]]:
        """Dreams and labels of as many steps as are made at once."""
        dreams, labels = [], []
        for t, count in enumerate(counts):
            if count:
                step = number * len(tasks) + t
                made, class_ids = method.dream(t, _AHEAD * count, stream=SCORE_STREAM, step=step)
                dreams.append(made.split(count))
                labels.append((class_ids + sum(widths[:t])).split(count))
        return [
            (torch.cat(inputs), torch.cat(ids))
            for inputs, ids in zip(zip(*dreams, strict=True), zip(*labels, strict=True), strict=True)
        ]

    def batch(step: int) -> tuple[Tensor, Tensor]:
        return block(step // _AHEAD)[step % _AHEAD]

    samples = sum(len(task.train.labels) for task in tasks)
    total = min(options.score_steps, max(300, YARDSTICK.epochs * samples // SCORE_BATCH))
    fit_classifier(net, batch, total, YARDSTICK.learning_rate, phase)
    _, unknown = accuracies(answers_on_tests(lambda inputs: net(inputs.to(phase.device)), tasks, phase.breathe), tasks)
    sizes = [len(task.test.labels) for task in tasks]
    right = sum((accuracy or 0.0) * size for accuracy, size in zip(unknown, sizes, strict=True))
    return right / sum(sizes)
