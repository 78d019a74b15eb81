"""The published algorithm, kept as a baseline to measure against. Its teacher is a copy of its student and its features
stay frozen, so its sleep changes no weight; see the README.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mygo_edge.data.tasks import Task
from mygo_edge.domains.domain import LearntDomain, Shape
from mygo_edge.learn.method import NamedPhase
from mygo_edge.learn.phase import Phase, Stateful
from mygo_edge.learn.pixels.methods import Network, under
from mygo_edge.learn.pixels.sleep import SleepReport, flat_features
from mygo_edge.learn.pixels.wake import add_head
from mygo_edge.learn.randomness import Batches, derived_seed, generator
from mygo_edge.options import TrainOptions

LATENT = 64
HIDDEN = 128
BATCH = 128
WAKE_EPOCHS = 5
WAKE_RATE = 1e-3
SLEEP_STEPS = 1000
SLEEP_RATE = 1e-4


class PublishedGenerator(nn.Module):
    """z [batch, 64] and class ids [batch] -> images; one hidden layer, the class embedding as wide as the classes."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(classes, classes)
        pixels = math.prod(shape)
        self.layers = nn.Sequential(
            nn.Linear(LATENT + classes, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, pixels), nn.Tanh()
        )

    def forward(self, z: Tensor, class_ids: Tensor) -> Tensor:
        return self.layers(torch.cat([z, self.embedding(class_ids)], 1)).unflatten(1, self.shape)


class PublishedDiscriminator(nn.Module):
    """Images and class ids -> probability of being real, [batch, 1]."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, classes)
        pixels = math.prod(shape)
        self.layers = nn.Sequential(
            nn.Linear(pixels + classes, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, 1), nn.Sigmoid()
        )

    def forward(self, images: Tensor, class_ids: Tensor) -> Tensor:
        return self.layers(torch.cat([images.flatten(1), self.embedding(class_ids)], 1))


class Reference(Network):
    """As published: head on frozen random features, MLP GAN by binary cross-entropy, sleep with a copied teacher."""

    name = "reference"
    dreams = True

    def __init__(self, domain: LearntDomain, options: TrainOptions, device: torch.device) -> None:
        super().__init__(domain, options, device)
        self.net.to(memory_format=torch.contiguous_format)  # as published
        self.generators = nn.ModuleList()

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        (task,) = tasks
        return [
            NamedPhase("head", "wake", partial(self._learn_head, index, task)),
            NamedPhase("memory", "memory", partial(self._memorise, task)),
            NamedPhase("sleep", "sleep", partial(self._sleep, index)),
        ]

    def forgetting(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        def drop(phase: Phase) -> None:
            del self.net.classifiers[index], self.generators[index]

        return [NamedPhase("forget", "sleep", drop)]

    def _learn_head(self, index: int, task: Task, phase: Phase) -> None:
        head = add_head(self.net, task, phase.seed)
        self.net.features.requires_grad_(False)
        optimiser = torch.optim.Adam(head.parameters(), WAKE_RATE, fused=True)
        batches = Batches(len(task.train.labels), BATCH, phase.device, phase.seed, "published head", task.name)
        for step in phase.steps(WAKE_EPOCHS * batches.per_epoch, head=head, optimiser=optimiser):
            images, labels = task.train.batch(batches(step), phase.device)
            loss = F.cross_entropy(head(self.net.features(images)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            phase.log(step, loss=loss)

    def _memorise(self, task: Task, phase: Phase) -> None:
        classes = len(task.classes)
        names = (phase.seed, "published gan", task.name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(*names))
            actor = PublishedGenerator(self.domain.shape, classes).to(phase.device)
            critic = PublishedDiscriminator(self.domain.shape, classes).to(phase.device)
        actor_optimiser = torch.optim.Adam(actor.parameters(), WAKE_RATE, fused=True)
        critic_optimiser = torch.optim.Adam(critic.parameters(), WAKE_RATE, fused=True)
        batches = Batches(len(task.train.labels), BATCH, phase.device, *names)
        state: dict[str, Stateful] = {"actor": actor, "critic": critic, "actor_optimiser": actor_optimiser}
        total = WAKE_EPOCHS * batches.per_epoch
        for step in phase.steps(total, **state, critic_optimiser=critic_optimiser):
            images, labels = task.train.batch(batches(step), phase.device)
            z = torch.randn(
                len(labels), LATENT, generator=generator(phase.device, *names, "noise", step), device=phase.device
            )
            real, fake = (
                torch.ones(len(labels), 1, device=phase.device),
                torch.zeros(len(labels), 1, device=phase.device),
            )
            dreams = actor(z, labels)
            critic_loss = (
                F.binary_cross_entropy(critic(images, labels), real)
                + F.binary_cross_entropy(critic(dreams.detach(), labels), fake)
            ) / 2
            critic_optimiser.zero_grad()
            critic_loss.backward()
            critic_optimiser.step()
            actor_loss = F.binary_cross_entropy(critic(dreams, labels), real)
            actor_optimiser.zero_grad()
            actor_loss.backward()
            actor_optimiser.step()
            phase.log(step, critic_loss=critic_loss, actor_loss=actor_loss)
        self.generators.append(actor.requires_grad_(False))

    def _sleep(self, index: int, phase: Phase) -> None:
        before = flat_features(self.net)
        sleep = PublishedSleep(self, index, phase)
        loss_first = float(sleep.loss_at(0).detach())
        for step in phase.steps(SLEEP_STEPS, **sleep.state):
            phase.log(step, loss=sleep.step(step))
        loss_last = float(sleep.loss_at(SLEEP_STEPS).detach())
        phase.require_finite(SLEEP_STEPS, loss_last=loss_last)
        change = float((flat_features(self.net) - before).norm() / before.norm())
        report = SleepReport(loss_first, loss_last, change, change, SLEEP_STEPS * BATCH)
        self.sleeps.append({"task": index, **asdict(report)})

    def sample(self, task: int, count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and class ids."""
        classes = self.net.widths[task]
        class_ids = torch.randint(classes, (count,), generator=source, device=self.device)
        z = torch.randn(count, LATENT, generator=source, device=self.device)
        with torch.no_grad():
            return self.generators[task](z, class_ids), class_ids

    def dream(self, task: int, count: int, *, stream: int, step: int) -> tuple[Tensor, Tensor]:
        """Images and class ids of `count` dreams of a task."""
        return self.sample(task, count, generator(self.device, self.options.seed, "published dream", stream, step))

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.net, **{f"generator{i}": module for i, module in enumerate(self.generators)}}

    def _build(self, state: dict[str, Tensor]) -> None:
        super()._build(state)
        while tensors := under(state, f"generator{len(self.generators)}"):
            classes = len(tensors["embedding.weight"])
            self.generators.append(PublishedGenerator(self.domain.shape, classes).to(self.device).requires_grad_(False))


class PublishedSleep:
    """Steps of the published sleep after task `index`, each on `batch_size` dreams of one task, drawn at random.

    Attributes:
        state: what the steps change, by name.
    """

    def __init__(self, method: Reference, index: int, phase: Phase, batch_size: int = BATCH) -> None:
        self._method, self._index, self._phase, self._batch_size = method, index, phase, batch_size
        self._teacher = deepcopy(method.net).requires_grad_(False)
        method.net.classifiers.requires_grad_(True)  # the published code never unfreezes the features
        trained = [parameter for parameter in method.net.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.Adam(trained, SLEEP_RATE, fused=True)
        self.state: dict[str, Stateful] = {"student": method.net, "optimiser": self._optimiser}

    def loss_at(self, step: int) -> Tensor:
        """The student's loss on a step's dreams."""
        device, net = self._phase.device, self._method.net
        source = generator(device, self._phase.seed, "published sleep", self._index, step)
        task = int(torch.randint(self._index + 1, (), generator=source, device=device))
        images, _ = self._method.sample(task, self._batch_size, source)
        columns = slice(sum(net.widths[:task]), sum(net.widths[: task + 1]))
        with torch.no_grad():
            target = self._teacher(images)[:, columns]
        return F.mse_loss(net(images)[:, columns], target)

    def step(self, number: int) -> Tensor:
        """Take one step; its loss."""
        loss = self.loss_at(number)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return loss.detach()
