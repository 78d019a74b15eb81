"""What dreams are worth: label fidelity, and the classification accuracy score."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.learn.methods import add_heads_for, fit_classifier, fit_jointly, new_net
from mygo_edge.learn.phase import Phase, freeze
from mygo_edge.measure.accuracy import accuracies
from mygo_edge.model.network import NeocortexNet, image_shape
from mygo_edge.options import TrainOptions

FIDELITY_STREAM, SCORE_STREAM, PICTURE_STREAM = 1, 2, 3  # below the sleeps' streams
SCORE_BATCH = 128
JUDGE_SEED = 7919  # apart from the learners' seeds, and the same for every method


def train_judge(tasks: Sequence[Task], options: TrainOptions, phase: Phase) -> NeocortexNet:
    """A classifier of all tasks' classes, trained on their real data: evaluation only."""
    net = new_net(image_shape(tasks[0].train.images), JUDGE_SEED, phase.device, "judge")
    add_heads_for(net, tasks, JUDGE_SEED)
    fit_jointly(net, tasks, options, phase)
    return freeze(net)


@torch.no_grad()
def label_fidelity(method: Any, task: int, judge: NeocortexNet, dreams_per_class: int) -> float:
    """Share of a task's dreams that `judge` gives the asked-for class, among the classes of all tasks."""
    width = judge.widths[task]
    images, class_ids = method.dream(task, dreams_per_class * width, stream=FIDELITY_STREAM, step=task)
    answers = torch.cat([judge(part).argmax(1) for part in images.split(2000)])
    return (answers == class_ids + sum(judge.widths[:task])).double().mean().item()


def classification_accuracy_score(method: Any, tasks: Sequence[Task], options: TrainOptions, phase: Phase) -> float:
    """Test accuracy, task unknown, of a fresh classifier trained on dreams alone (Ravuri & Vinyals 2019)."""
    net = new_net(image_shape(tasks[0].train.images), JUDGE_SEED, phase.device, "score")
    add_heads_for(net, tasks, JUDGE_SEED)
    widths = net.widths
    counts = [SCORE_BATCH * sum(widths[: t + 1]) // sum(widths) for t in range(len(tasks))]
    counts = [after - before for before, after in zip([0, *counts], counts, strict=False)]

    def batch(step: int) -> tuple[Tensor, Tensor]:
        parts = [
            method.dream(t, count, stream=SCORE_STREAM + 16 * (t + 1), step=step) for t, count in enumerate(counts)
        ]
        labels = [class_ids + sum(widths[:t]) for t, (_, class_ids) in enumerate(parts)]
        return torch.cat([images for images, _ in parts]), torch.cat(labels)

    samples = sum(len(task.train.labels) for task in tasks)
    total = min(options.measure.score_steps, max(300, options.wake.epochs * samples // SCORE_BATCH))
    fit_classifier(net, batch, total, options.wake.learning_rate, phase)
    _, unknown = accuracies(lambda images: net(images.to(phase.device)), tasks)
    sizes = [len(task.test.labels) for task in tasks]
    return sum(accuracy * size for accuracy, size in zip(unknown, sizes, strict=True)) / sum(sizes)
