"""Ways to take the steps of a sleep: the published algorithm's, a plain loop, and ours with each means of speed."""

import itertools
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.contenders import CannotRunError, Way
from bench.contenders.dreams import DOMAIN, SHAPE, images_of
from mygo_edge.domains.pixels import shift
from mygo_edge.kernels.backend import BackendError, choose_backend
from mygo_edge.kernels.noise import dream_noise
from mygo_edge.kernels.philox import below
from mygo_edge.learn.phase import Phase, freeze
from mygo_edge.learn.pixels.lessons import Lessons, plan_dreams
from mygo_edge.learn.pixels.methods import new_net
from mygo_edge.learn.pixels.reference import PublishedGenerator, PublishedSleep, Reference
from mygo_edge.learn.pixels.sleep import DREAM_STREAM, Consolidation, flat_features
from mygo_edge.model.gan import LATENT, FrozenGenerator, Generator
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.model.network import NeocortexNet
from mygo_edge.options import SleepOptions, StepMode, TrainOptions
from mygo_edge.run.device import multiplies_bf16

WAYS = ("published algorithm", "loop", "plain", "ahead", "ahead, bf16", "compiled", "graph", "graph + fused")
COMPILED_BATCH = 128  # on CUDA, where time is limited
CHECKED_STEPS = 3
TOLERANCE = {True: 0.1, False: 2e-3}  # of the features' change in so many steps, in bf16 and not, against plain steps
CLASSES = 2


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner just before the sleep of its last task. Weights are random: the arithmetic is the same."""

    net: NeocortexNet
    expert: NeocortexNet
    memory: GenerativeMemory


def learner_of(tasks: int, device: torch.device) -> Learner:
    """A learner of so many tasks of two classes."""
    net = new_net(DOMAIN, 0, device)
    memory = GenerativeMemory(SHAPE)
    torch.manual_seed(0)
    for _ in range(tasks):
        net.add_task_head(CLASSES)
        memory.add(Generator(SHAPE, CLASSES).eval().freeze())
    return Learner(net, deepcopy(net), memory.to(device))


class SleepCase:
    """Steps of `batch` dreams over all tasks, with the learner's own options but for the memory that it takes ahead."""

    def __init__(self, tasks: int, batch: int, device: torch.device, ahead_megabytes: float) -> None:
        self.learner, self.batch, self.device = learner_of(tasks, device), batch, device
        self.options = replace(SleepOptions(), batch_size=batch, ahead_megabytes=ahead_megabytes)

    def way(self, name: str) -> Way:
        """Raises CannotRunError."""
        if name == "published algorithm":
            return self._published()
        if name == "loop":
            timed, checked = PlainLoop(self, exact=False), PlainLoop(self, exact=True)
            return _stepping(timed.step, lambda: self._agree(checked))
        ahead = 0.0 if name == "plain" else self.options.ahead_megabytes
        step_mode: StepMode = "graph" if name.startswith("graph") else "eager"
        backend = "triton" if name.endswith("fused") else "torch"
        if step_mode == "graph" and self.device.type != "cuda":
            raise CannotRunError("CUDA graphs need CUDA; not yet run on a GPU")
        try:
            choose_backend(backend, self.device.type)
        except BackendError as error:
            raise CannotRunError(str(error)) from error
        if name == "compiled" and self.device.type == "cuda" and self.batch != COMPILED_BATCH:
            raise CannotRunError(f"compiling takes up to a minute a shape: measured for {COMPILED_BATCH} dreams only")
        bf16 = name.endswith("bf16")
        if bf16 and self.device.type == "cpu" and not multiplies_bf16():
            raise CannotRunError("this processor has no matrix instructions for bf16")
        how: dict[str, Any] = {"ahead": ahead, "step_mode": step_mode, "backend": backend, "bf16": bf16}
        how["compile_loss"] = name == "compiled"
        block = self._rounds_ahead() if ahead else 1
        return _stepping(OurSteps(self, **how).step, lambda: self._agree(OurSteps(self, **how), TOLERANCE[bf16]), block)

    def _rounds_ahead(self) -> int:
        """Steps that are prepared at once: what to time together, so that preparing counts."""
        plan = plan_dreams(len(self.learner.memory), 0, self.batch)
        features, ahead = self.learner.net.features, self.options.ahead_megabytes * 1e6
        lessons = Lessons(
            self.learner.memory,
            plan,
            features,
            features,
            new_task=0,
            width=DOMAIN.features,
            seed=0,
            stream=0,
            augmented=lambda dreams: dreams.images,
            ahead_bytes=ahead,
        )
        return lessons.rounds_ahead * plan.steps

    def _agree(self, way: "OurSteps | PlainLoop", tolerance: float = TOLERANCE[False]) -> None:
        """A few steps change the features as the plain way does."""
        start, expected = flat_features(self.learner.expert), self._expected()
        for number in range(CHECKED_STEPS):
            way.step(number)
        error = float((flat_features(way.net) - expected).norm() / (expected - start).norm())
        assert error < tolerance, f"the features differ from the plain steps' by {error:.1e} of their change"

    def _expected(self) -> Tensor:
        plain = OurSteps(self, ahead=0.0, step_mode="eager", backend="torch", compile_loss=False)
        for number in range(CHECKED_STEPS):
            plain.step(number)
        return flat_features(plain.net)

    def _published(self) -> Way:
        """It does less: a perceptron dreams, of one task a step, and no gradient goes through the features."""
        method = Reference(DOMAIN, TrainOptions(), self.device)
        method.net.features.requires_grad_(False)  # as its wake leaves them, for good
        torch.manual_seed(0)
        tasks = len(self.learner.memory)
        for _ in range(tasks):
            method.net.add_task_head(CLASSES)
            method.generators.append(PublishedGenerator(SHAPE, CLASSES).to(self.device).requires_grad_(False))
        sleep = PublishedSleep(method, tasks - 1, Phase(self.device, 0), self.batch)

        def check() -> None:
            assert float(sleep.step(0)) == 0.0, "its teacher is its student, so its loss is 0"

        return _stepping(sleep.step, check)

    def least(self) -> dict[str, int]:
        """Floating-point operations of a step, and bytes that must move at least once."""
        memory, net = self.learner.memory, deepcopy(self.learner.net)
        images = torch.zeros(self.batch, *SHAPE, device=self.device)
        ids = torch.zeros(self.batch, dtype=torch.int64, device=self.device)
        with FlopCounterMode(display=False) as counter:
            with torch.no_grad():
                generator: Any = memory.generators[0]
                images_of(generator, torch.zeros(self.batch, LATENT, device=self.device), ids)
                net.features(images)  # the teacher's
            net.requires_grad_(True)(images).sum().backward()
        weights = sum(parameter.numel() for parameter in net.parameters())
        # Images and teacher's features are written once and read once or twice; weights, gradients and Adam's two
        # averages are read and written once.
        moved = 4 * (self.batch * (3 * images[0].numel() + 2 * DOMAIN.features) + 8 * weights)
        return {"flop": counter.get_total_flops(), "bytes": moved}


def _stepping(step: Callable[[int], object], check: Callable[[], None], block: int = 1) -> Way:
    numbers = itertools.count()
    return Way(lambda: step(next(numbers)), check, block)


class OurSteps:
    """The learner's own steps."""

    def __init__(
        self,
        case: SleepCase,
        *,
        ahead: float,
        step_mode: StepMode,
        backend: str,
        compile_loss: bool,
        bf16: bool = False,
    ) -> None:
        self.net, learner = deepcopy(case.learner.net), case.learner
        self._arithmetic = torch.autocast(case.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False)
        memory = deepcopy(learner.memory)
        memory.backend = backend
        options = replace(case.options, ahead_megabytes=ahead, steps=10**6)
        phase = Phase(case.device, 0, step_mode=step_mode)
        consolidation = Consolidation(self.net, deepcopy(learner.expert), memory, DOMAIN, options, phase)
        if compile_loss:
            consolidation.loss_of = torch.compile(consolidation.loss_of, mode="max-autotune")  # type: ignore[method-assign]
        self.net.requires_grad_(True)
        self._descent = consolidation.descent()

    def step(self, number: int) -> Tensor:
        with self._arithmetic:  # as a phase of the run takes it
            return self._descent.step(number)


class PlainLoop:
    """The same lessons and losses as one would first write them: one task after another, each with its generator, the
    whole teacher, the whole student and a loss a head; nothing of `mygo_edge.kernels` but, for the check, its noise.

    Args:
        exact: dream from the noise of ours; else from PyTorch's own, and with its own learning rate schedule.
    """

    def __init__(self, case: SleepCase, *, exact: bool) -> None:
        learner, self._options, self._exact = case.learner, case.options, exact
        self.net = deepcopy(learner.expert).requires_grad_(True)
        self._teachers = freeze(deepcopy(learner.net)), freeze(deepcopy(learner.expert))
        self._generators: list[FrozenGenerator] = list(learner.memory.generators)  # type: ignore[arg-type]
        plan = plan_dreams(len(self._generators), 0, case.batch)
        assert plan.steps == 1, "fewer tasks than dreams a step"
        self._counts, self._weights, self._device = plan.counts, plan.task_weights, case.device
        self._optimiser = torch.optim.Adam(self.net.parameters(), self._options.learning_rate)
        total = 10**6
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, self._options.learning_rate, total, cycle_momentum=False
        )

    def step(self, number: int) -> Tensor:
        own, every, surprise, samples = 0.0, 0.0, 0.0, 0.0
        first = 0
        for task, (count, weight) in enumerate(zip(self._counts, self._weights, strict=True)):
            images, target = self._lesson(task, number, first, count)
            first += count
            heads = self.net(images).unflatten(1, (-1, CLASSES))  # [batch, heads, classes]
            claims = heads.logsumexp(2).log_softmax(1)
            errors = (heads.mean(2) - self._options.other_target).square()
            errors[:, task] = (heads[:, task] - target).square().mean(1)
            own = own + weight * errors[:, task].sum()
            every = every + weight * errors.mean(1).sum()
            surprise = surprise - weight * claims[:, task].sum()
            samples += weight * count
        loss = (own + self._options.other_heads * every + self._options.task_entropy * surprise) / samples
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        self._optimiser.step()
        self._schedule.step()
        return loss  # type: ignore[return-value]

    @torch.no_grad()
    def _lesson(self, task: int, step: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Shifted dreams of a task, and what its own head should say to them."""
        stream = DREAM_STREAM + len(self._generators) - 1
        if self._exact:
            samples = torch.arange(first, first + count, device=self._device)
            z, ids, words = dream_noise(samples, CLASSES, LATENT, seed=0, stream=stream, step=step, xp=torch)
        else:
            z = torch.randn(count, LATENT, device=self._device)
            ids = torch.randint(CLASSES, (count,), device=self._device)
            words = torch.randint(2**32, (2, count), device=self._device)
        images = images_of(self._generators[task], z, ids)
        most = DOMAIN.most_shifted(self._options.shift)
        images = shift(images, below(words, 2 * most + 1) - most)
        logits = self._teachers[task == len(self._generators) - 1](images)
        own = logits[:, task * CLASSES : (task + 1) * CLASSES]
        limit = self._options.logit_limit
        return images, (own - own.mean(1, keepdim=True)).clamp(-limit, limit)


def launches(way: Way) -> float:
    """Kernel, copy and graph launches a step on CUDA, by the profiler."""
    way.run()  # what is captured or compiled at the first call is so by now
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(way.block):
            way.run()
    names = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
    return sum(event.count for event in profile.key_averages() if event.key.startswith(names)) / way.block
