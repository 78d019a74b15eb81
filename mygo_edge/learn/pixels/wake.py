"""Wake: a task's data is there. A head learns on frozen features; the expert, a temporary copy, learns it all."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from mygo_edge.data.tasks import Task
from mygo_edge.domains.domain import LearntDomain
from mygo_edge.learn.fit import Descent, fit, shared_cross_entropy, steps_for
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.randomness import Batches, derived_seed, generator
from mygo_edge.model.network import NeocortexNet
from mygo_edge.options import WakeOptions

EVALUATION_BATCH = 256  # as many as `mygo_edge.learn.pixels.lessons` shows a teacher at once, and for the same reason


@torch.no_grad()
def extract_features(net: NeocortexNet, inputs: Tensor) -> Tensor:
    """Features of many inputs, [n, width], a batch at a time."""
    if not len(inputs):
        return inputs.new_empty(0, net.width)
    device = next(net.parameters()).device
    return torch.cat([net.features(part.to(device)) for part in inputs.split(EVALUATION_BATCH)])


def add_head(net: NeocortexNet, task: Task, seed: int) -> nn.Linear:
    """A new head for `task`; its first weights are a function of seed and task, so all methods start alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "head", task.name))
        return net.add_task_head(len(task.classes))


def learn_head(net: NeocortexNet, task: Task, options: WakeOptions, phase: Phase) -> None:
    """Add a head for `task` and train it by cross-entropy; the shared features are frozen, so computed only once."""
    head = add_head(net, task, phase.seed)
    features, labels = extract_features(net, task.train.inputs), task.train.labels.to(phase.device)
    total = steps_for(len(features), options.batch_size, options.epochs, options.min_steps)
    batches = Batches(len(features), options.batch_size, phase.device, phase.seed, "head", task.name)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rows = phase.team.share(batches(step))
        return features[rows], labels[rows]

    def loss_of(features: Tensor, labels: Tensor) -> Tensor:
        return shared_cross_entropy(head(features), labels, batches.batch_size)

    fit(Descent(head.parameters(), loss_of, batch, total, options.learning_rate, phase, head=head), phase)


def learn_expert(
    net: NeocortexNet, index: int, task: Task, domain: LearntDomain, options: WakeOptions, phase: Phase
) -> NeocortexNet:
    """A copy of `net` whose features and head `index` are fine-tuned on `task`, its inputs augmented."""
    expert = deepcopy(net).requires_grad_(True)
    fine_tune(expert, index, task, domain, options, phase)
    return expert


def fine_tune(
    net: NeocortexNet, index: int, task: Task, domain: LearntDomain, options: WakeOptions, phase: Phase
) -> None:
    """Train features and head `index` of `net` by cross-entropy on `task`."""
    head = net.classifiers[index]
    samples = len(task.train.labels)
    total = steps_for(samples, options.batch_size, options.epochs, options.min_steps)
    batches = Batches(samples, options.batch_size, phase.device, phase.seed, "tune", task.name)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        inputs, labels = task.train.batch(batches(step), phase.device)
        source = generator(phase.device, phase.seed, "shift", task.name, step)
        return phase.team.share(domain.augmented(inputs, options.shift, source)), phase.team.share(labels)

    def loss_of(inputs: Tensor, labels: Tensor) -> Tensor:
        return shared_cross_entropy(head(net.features(inputs)), labels, batches.batch_size)

    trained = [*net.features.parameters(), *head.parameters()]
    fit(Descent(trained, loss_of, batch, total, options.learning_rate, phase, net=net), phase)
