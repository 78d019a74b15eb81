"""Methods whose knowledge is a network, learnt by descent: MyGO, and what it is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor, nn

from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Task
from mygo_edge.domains.domain import LearntDomain
from mygo_edge.errors import warn
from mygo_edge.learn.fit import Descent, fit, shared_cross_entropy, steps_for
from mygo_edge.learn.method import Method, NamedPhase
from mygo_edge.learn.phase import Phase, freeze
from mygo_edge.learn.pixels.remember import remember
from mygo_edge.learn.pixels.sleep import relearn, sleep
from mygo_edge.learn.pixels.wake import add_head, fine_tune, learn_expert, learn_head
from mygo_edge.learn.randomness import Batches, derived_seed, generator
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.model.network import NeocortexNet
from mygo_edge.options import TrainOptions, WakeOptions


class Network(Method):
    """A network with one head a task."""

    def __init__(self, domain: LearntDomain, options: TrainOptions, device: torch.device) -> None:
        super().__init__(options, device)
        self.domain = domain
        self.net = new_net(domain, options.seed, device)

    def logits(self, inputs: Tensor) -> Tensor:
        return self.net(inputs.to(self.device))

    def forgetting(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        def drop(phase: Phase) -> None:
            del self.net.classifiers[index]

        return [NamedPhase("forget", "sleep", drop)]

    def modules(self) -> dict[str, nn.Module]:
        """Every module that holds knowledge between two phases."""
        return {"net": self.net}

    @property
    def bytes(self) -> int | None:
        return sum(value.numel() * value.element_size() for value in self.state().values())

    def state(self) -> dict[str, Tensor]:
        parts = self.modules()
        return {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}

    def load(self, state: dict[str, Tensor]) -> None:
        self._build(state)
        for part, module in self.modules().items():
            module.load_state_dict(under(state, part))

    def _build(self, state: dict[str, Tensor]) -> None:
        """Make the modules that `state` has and a new method has not: heads, here."""
        _heads_of(self.net, under(state, "net"))


class MyGO(Network):
    """Wake: head, expert and generator; sleep: consolidation from dreams."""

    name = "mygo"
    dreams = True
    publishes = True

    def __init__(self, domain: LearntDomain, options: TrainOptions, device: torch.device) -> None:
        super().__init__(domain, options, device)
        self.publishes = domain.name == "pixels"  # devices take no other memory of networks
        backend = None if options.backend == "auto" else options.backend  # the variable may decide
        self.memory = GenerativeMemory(domain.shape, backend).to(device)
        self.expert: NeocortexNet | None = None  # from its wake until the end of the sleep
        self.remembered: list[FrozenGenerator] = []  # generators of an earlier run, to be used instead of new ones

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        (task,) = tasks
        return [
            NamedPhase("head", "wake", partial(self._learn_head, task)),
            NamedPhase("expert", "wake", partial(self._learn_expert, index, task)),
            NamedPhase("memory", "memory", partial(self._memorise, index, task)),
            NamedPhase("sleep", "sleep", partial(self._sleep, index)),
        ]

    def _learn_head(self, task: Task, phase: Phase) -> None:
        learn_head(self.net, task, self.options.wake, phase)

    def _learn_expert(self, index: int, task: Task, phase: Phase) -> None:
        if self.options.wake.expert:
            self.expert = learn_expert(self.net, index, task, self.domain, self.options.wake, phase)
        else:
            self.expert = _copy(self.net, self.domain)

    def _memorise(self, index: int, task: Task, phase: Phase) -> None:
        assert self.expert is not None
        if index < len(self.remembered):
            self.memory.add(self.remembered[index])
            return
        known = sum(self.net.widths[:index])
        expert = freeze(self.expert)
        # A GAN's batch norms need the whole batch, so every process trains the same one, and the leader's counts.
        judge = lambda inputs: expert(inputs)[:, known:]  # noqa: E731
        frozen, report = remember(task, self.domain, judge, self.options.memory, phase)
        phase.team.follow(list(frozen.buffers()))
        self.memory.add(frozen)
        self.memories.append({"task": index, **asdict(report)})
        if report.poor and phase.team.leads:
            colour = self.domain.shape[0] == 3
            found = f"the dreams of {task.name} are poor: {report.recognised:.0%} of them are recognised, and "
            other = "; photographs are learnt best above a network: --trunk efficientnet-lite0" if colour else ""
            warn(
                f"{found}{report.recognised_real:.0%} of the real images. Sleeps keep what they dream of: give the "
                f"task more images, or learn them anew with --trunk patches, which often remembers more{other}"
            )

    def _sleep(self, index: int, phase: Phase) -> None:
        assert self.expert is not None
        if self.options.sleep.enabled:
            report = sleep(self.net, self.expert, self.memory, self.domain, self.options.sleep, phase)
            self.sleeps.append({"task": index, **asdict(report)})
        self.expert = None

    def forgetting(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        return [NamedPhase("forget", "sleep", partial(self._forget, index))]

    def _forget(self, index: int, phase: Phase) -> None:
        """Head and generator go; a new network, which never saw the task, learns the others from their dreams."""
        del self.net.classifiers[index]
        kept = GenerativeMemory(self.domain.shape, self.memory.backend).to(self.device)
        for place, generator_ in enumerate(self.memory.generators):
            if place != index:
                kept.add(generator_)  # type: ignore[arg-type]
        self.memory = kept
        fresh = new_net(self.domain, self.options.seed, self.device)
        if len(kept):
            fresh = relearn(self.net, fresh, self.memory, self.domain, self.options.sleep, phase)
        self.net = fresh

    def dream(self, task: int, count: int, *, stream: int, step: int) -> tuple[Tensor, Tensor]:
        """`count` dreams of a task, [count, *shape], and their class ids."""
        batch = self.memory.dream([0] * task + [count], seed=self.options.seed, stream=stream, step=step)
        return batch.images, batch.class_ids

    def device_dreams(self, task: int, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
        alone = GenerativeMemory(self.domain.shape, self.memory.backend).to(self.device)
        alone.add(self.memory.generators[task].for_devices())  # type: ignore[operator]
        batch = alone.dream([count], seed=seed, stream=0, step=0)
        return batch.images, batch.class_ids

    @property
    def bytes(self) -> None:
        return None

    def modules(self) -> dict[str, nn.Module]:
        expert = {"expert": self.expert} if self.expert is not None else {}
        generators = {f"generator{i}": module for i, module in enumerate(self.memory.generators)}
        return {"net": self.net, **expert, **generators}

    def _build(self, state: dict[str, Tensor]) -> None:
        super()._build(state)
        if any(key.startswith("expert.") for key in state):
            self.expert = _copy(self.net, self.domain)
        while tensors := under(state, f"generator{len(self.memory)}"):
            frozen = FrozenGenerator.from_tensors(self.memory.shape, self.options.memory.network, tensors)
            self.memory.add(frozen.to(self.device))


class Finetune(Network):
    """The same network with per-task heads, nothing frozen, nothing remembered: the baseline that forgets."""

    name = "finetune"

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        (task,) = tasks
        return [NamedPhase("finetune", "wake", partial(self._learn, index, task))]

    def _learn(self, index: int, task: Task, phase: Phase) -> None:
        add_head(self.net, task, self.options.seed)
        fine_tune(self.net.requires_grad_(True), index, task, self.domain, self.options.wake, phase)


class Frozen(Network):
    """Random features that never change: the honest floor for heads on frozen features."""

    name = "frozen"

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        (task,) = tasks
        return [NamedPhase("head", "wake", partial(self._learn, task))]

    def _learn(self, task: Task, phase: Phase) -> None:
        learn_head(self.net, task, self.options.wake, phase)


class Joint(Network):
    """All tasks' real data at once, from scratch after every task: the upper bound that may look back."""

    name = "joint"
    looks_back = True
    _images = 0  # bytes of all tasks' real ones

    @property
    def bytes(self) -> int:
        return (super().bytes or 0) + self._images

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        return [NamedPhase("joint", "wake", partial(self._learn, tasks))]

    def _learn(self, tasks: Sequence[Task], phase: Phase) -> None:
        self.net = new_net(self.domain, self.options.seed, self.device)
        add_heads_for(self.net, tasks, self.options.seed)
        fit_jointly(self.net, tasks, self.domain, self.options.wake, phase)
        self._images = sum(task.train.inputs.numel() for task in tasks)  # a byte a channel of a pixel


def fit_jointly(
    net: NeocortexNet, tasks: Sequence[Task], domain: LearntDomain, wake: WakeOptions, phase: Phase
) -> None:
    """Train `net`, one head a task, on the real data of all `tasks` as one many-way classification."""
    offsets = [sum(net.widths[:i]) for i in range(len(tasks))]
    labels = torch.cat([task.train.labels + offset for task, offset in zip(tasks, offsets, strict=True)])
    together = Split(torch.cat([task.train.inputs for task in tasks]), labels)
    total = steps_for(len(labels), wake.batch_size, wake.epochs, wake.min_steps)
    batches = Batches(len(labels), wake.batch_size, phase.device, phase.seed, "joint", len(tasks))

    def batch(step: int) -> tuple[Tensor, Tensor]:
        inputs, labels = together.batch(batches(step), phase.device)
        return domain.augmented(inputs, wake.shift, generator(phase.device, phase.seed, "joint shift", step)), labels

    fit_classifier(net, batch, total, wake.learning_rate, phase)


def fit_classifier(
    net: NeocortexNet, batch: Callable[[int], tuple[Tensor, Tensor]], total: int, peak: float, phase: Phase
) -> None:
    """Cross-entropy over all heads together; `batch(step)` gives inputs and labels counted over all heads."""
    net.requires_grad_(True)
    team, size = phase.team, len(batch(0)[1])

    def share(step: int) -> tuple[Tensor, ...]:
        return tuple(team.share(part) for part in batch(step))

    def loss_of(inputs: Tensor, labels: Tensor) -> Tensor:
        return shared_cross_entropy(net(inputs), labels, size)

    fit(Descent(net.parameters(), loss_of, share, total, peak, phase, net=net), phase)
    freeze(net)


def new_net(domain: LearntDomain, seed: int, device: torch.device, purpose: str = "net") -> NeocortexNet:
    """A network without heads; the same seed gives every method the same start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, purpose))
        net = NeocortexNet(domain.layers(), domain.shape, domain.features)
        return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def add_heads_for(net: NeocortexNet, tasks: Sequence[Task], seed: int) -> None:
    """A head for each of the `tasks`."""
    for task in tasks:
        add_head(net, task, seed)


def _copy(net: NeocortexNet, domain: LearntDomain) -> NeocortexNet:
    copy = new_net(domain, 0, next(net.parameters()).device)
    for width in net.widths:
        copy.add_task_head(width)
    copy.load_state_dict(net.state_dict())
    return copy


def under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, with it cut off."""
    return {key[len(prefix) + 1 :]: value for key, value in state.items() if key.startswith(prefix + ".")}


def _heads_of(net: NeocortexNet, state: dict[str, Tensor]) -> None:
    """As many heads as `state` has, of its widths."""
    while (bias := state.get(f"classifiers.{len(net.classifiers)}.bias")) is not None:
        net.add_task_head(len(bias))
