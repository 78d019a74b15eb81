"""Wake, the other half: a class-conditional GAN memorises the task, and its averaged generator is frozen for good."""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mygo_edge.data.tasks import Task
from mygo_edge.domains.domain import LearntDomain
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.capture import adam, captured
from mygo_edge.learn.fit import steps_for
from mygo_edge.learn.phase import NotFiniteError, Phase, Stateful, freeze
from mygo_edge.learn.randomness import Batches, derived_seed, generator
from mygo_edge.model.gan import LATENT, FrozenGenerator
from mygo_edge.options import MemoryOptions

CHECKED_DREAMS = 200  # a class, to tell a collapsed GAN
LEAST_SPREAD = 0.3  # of the real images' standard deviation within a class; far below it, dreams are one image
LEAST_RECALL = 0.25  # of what the expert recognises of the class's real images, both above chance

# Averaged generators vary less than the data. Dreams of a wider z cover more of it, and are a little less often what
# was asked for: the score of dreams rises, label fidelity falls, and from 1.3 on faster than the score rises.
WIDTH = 1.2


class DivergedError(Exception):
    """A GAN whose generator is not usable: not finite, no variety, or deaf to the class."""


class GanFailedError(MygoEdgeError):
    """The GAN of a task diverged or collapsed in every attempt, for `reasons`."""

    def __init__(self, task: str, attempts: int, reasons: list[str]) -> None:
        self.reasons = "; ".join(reasons)
        super().__init__(
            f"the GAN of {task} failed {attempts} times ({self.reasons}); nothing of it is published. Give the task "
            "more images, or try --memory.gaussians 0.5, --memory.epochs higher, --memory.learning-rate lower or "
            "another --seed"
        )


def memorise(
    task: Task, domain: LearntDomain, expert: Callable[[Tensor], Tensor], options: MemoryOptions, phase: Phase
) -> FrozenGenerator:
    """Train a GAN on `task` and return the frozen moving average of its generator.

    Args:
        expert: maps inputs to the task's logits, and tells whether the classes are dreamt recognisably.

    Raises:
        GanFailedError: the GAN diverged or collapsed in every attempt; the phase's `attempt` is beyond the last.
    """
    reasons = []
    for attempt in range(phase.attempt, options.restarts + 1):
        phase.attempt = attempt
        try:
            frozen = _train(task, domain, options, phase)
            _check(frozen, task, expert, phase)
        except (DivergedError, NotFiniteError) as reason:
            reasons.append(f"attempt {attempt + 1}: {reason}")
            continue
        return frozen
    phase.attempt = options.restarts + 1  # a run that goes on later need not try again
    raise GanFailedError(task.name, phase.attempt, reasons)


def _train(task: Task, domain: LearntDomain, options: MemoryOptions, phase: Phase) -> FrozenGenerator:
    gan = GAN(task, domain, options, phase)
    for step in phase.steps(gan.total, **gan.state):
        critic_loss, actor_loss = gan.step(step)
        phase.log(step, critic_loss=critic_loss, actor_loss=actor_loss)
    return gan.average.eval().freeze(WIDTH)  # type: ignore[operator]


class GAN:
    """The steps in which generator (actor) and discriminator (critic) of a task learn.

    Hinge loss with one step each and no momentum: Miyato et al. 2018; moving average: Yazici et al. 2019.

    Attributes:
        total: how many steps there are.
        state: what the steps change, by name; what a checkpoint keeps.
        average: the generator's moving average, the one that is kept.
    """

    def __init__(self, task: Task, domain: LearntDomain, options: MemoryOptions, phase: Phase) -> None:
        self._classes = len(task.classes)
        self._task, self._options, self._device = task, options, phase.device
        self._names = (phase.seed, "gan", task.name, phase.attempt)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(*self._names))
            self._actor = domain.actor(self._classes, width=options.width, kind=options.network).to(phase.device)
            self._critic = domain.critic(self._classes).to(phase.device)
        for net in (self._actor, self._critic):
            net.to(memory_format=torch.channels_last)  # faster convolutions on CPUs
        self.average = freeze(deepcopy(self._actor))
        rate = options.learning_rate / 2**phase.attempt  # what diverged is tried again more gently
        self._actor_optimiser, self._critic_optimiser = (
            adam(net.parameters(), rate, phase.device, betas=(0.0, 0.9)) for net in (self._actor, self._critic)
        )
        samples = len(task.train.labels)
        self._size = min(options.batch_size, samples)
        self.total = steps_for(samples, self._size, options.epochs, options.min_steps, options.max_steps)
        self._batches = Batches(samples, self._size, phase.device, *self._names)
        self.state: dict[str, Stateful] = {"actor": self._actor, "critic": self._critic, "average": self.average}
        self.state |= {"actor_optimiser": self._actor_optimiser, "critic_optimiser": self._critic_optimiser}
        self._take = captured(self._step_on, phase, self.state)

    def step(self, number: int) -> tuple[Tensor, Tensor]:
        """Take one step; the losses of critic and actor."""
        device = self._device
        source = generator(device, *self._names, "noise", number)
        real, labels = self._task.train.batch(self._batches(number), device)
        asked = torch.randint(self._classes, (self._size,), generator=source, device=device)
        z = torch.randn(self._size, LATENT, generator=source, device=device)
        pace = torch.full((), 1 - min(self._options.ema, (1 + number) / (10 + number)), device=device)
        return self._take(real, labels, z, asked, pace)

    def _step_on(self, real: Tensor, labels: Tensor, z: Tensor, asked: Tensor, pace: Tensor) -> tuple[Tensor, Tensor]:
        actor, critic = self._actor, self._critic
        dreams = actor(z, asked)

        critic.requires_grad_(True)
        realness = critic(torch.cat([real, dreams.detach()]), torch.cat([labels, asked]))
        critic_loss = F.relu(1 - realness[: self._size]).mean() + F.relu(1 + realness[self._size :]).mean()
        self._critic_optimiser.zero_grad()
        critic_loss.backward()
        self._critic_optimiser.step()

        critic.requires_grad_(False)  # saves the critic's own gradients in the actor's step
        actor_loss = -critic(dreams, asked).mean()
        self._actor_optimiser.zero_grad()
        actor_loss.backward()
        self._actor_optimiser.step()
        _average(self.average, actor, pace)
        return critic_loss.detach(), actor_loss.detach()


@torch.no_grad()
def _average(average: nn.Module, actor: nn.Module, pace: Tensor) -> None:
    """Move the average towards the actor by the share `pace`, a scalar on the device."""
    for kept, weight in zip(average.parameters(), actor.parameters(), strict=True):
        kept.lerp_(weight, pace)
    for buffer, current in zip(average.buffers(), actor.buffers(), strict=True):
        buffer.copy_(current)


@torch.no_grad()
def _check(frozen: FrozenGenerator, task: Task, expert: Callable[[Tensor], Tensor], phase: Phase) -> None:
    """Raise DivergedError unless every class is dreamt recognisably and with variety."""
    for label, name in enumerate(task.classes):
        source = generator(phase.device, phase.seed, "check", task.name, label)
        z = torch.randn(CHECKED_DREAMS, LATENT, generator=source, device=phase.device)
        asked = torch.full((CHECKED_DREAMS,), label, device=phase.device)
        dreams = frozen(z, asked)
        real = task.train.inputs[task.train.labels == label][:CHECKED_DREAMS]
        if not torch.isfinite(dreams).all():
            raise DivergedError(f"dreams of class {name} are not finite")
        if _spread(dreams) < LEAST_SPREAD * _spread(real):
            raise DivergedError(f"dreams of class {name} all look alike")
        recall, real_recall = (
            (expert(inputs.to(phase.device)).argmax(1) == label).float().mean().item() for inputs in (dreams, real)
        )
        chance = 1 / len(task.classes)
        if recall < chance + LEAST_RECALL * (real_recall - chance):
            raise DivergedError(f"the expert recognises {recall:.0%} of the dreams of class {name}")


def _spread(inputs: Tensor) -> float:
    """Standard deviation of a value over inputs, averaged over values (0 for a single input)."""
    return inputs.std(0, unbiased=False).mean().item()
