"""MyGO in feature space: the wake is one pass over a task's vectors, the sleep is exact."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.domains.features import Features
from mygo_edge.kernels.dream import dream
from mygo_edge.kernels.stack import GeneratorStack
from mygo_edge.learn.gaussian_memory import GaussianMemory
from mygo_edge.learn.methods import Method, NamedPhase, under
from mygo_edge.learn.phase import Phase, freeze
from mygo_edge.options import TrainOptions

_PREFIX = "memory"


class ExactMyGO(Method):
    """Wake: moments of the task's vectors. Sleep: the minimum over infinitely many dreams (docs/exact-sleep.md)."""

    name = "mygo"
    dreams = True

    def __init__(self, domain: Features, options: TrainOptions, device: torch.device) -> None:
        super().__init__(domain, options, device)
        self.memory = GaussianMemory(domain.transform, domain.features)
        self._backend = None if options.backend == "auto" else options.backend

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        (task,) = tasks
        return [
            NamedPhase("memory", "memory", partial(self._memorise, task)),
            NamedPhase("sleep", "sleep", partial(self._sleep, index)),
        ]

    def _memorise(self, task: Task, phase: Phase) -> None:
        train = task.train
        self.memory.learn(train.inputs.cpu().numpy(), train.labels.cpu().numpy(), task.classes)
        self.net.add_task_head(len(task.classes)).to(self.device)
        phase.note(self.memory.strength.reason())

    def _sleep(self, index: int, phase: Phase) -> None:
        shrinkage = self._consolidate()
        self.sleeps.append(
            {
                "task": index,
                "form": "exact",
                "shrinkage": shrinkage,
                "strength": self.memory.strength.best,
                "reason": self.memory.strength.reason(),
                "factor_version": self.memory.factor_version,
            }
        )

    def _consolidate(self) -> float:
        """Set all heads by the closed form, and the factor that devices get; returns the shrinkage."""
        covariance = self.memory.covariance()
        weight, bias = map(torch.from_numpy, self.memory.sleep(covariance))
        widths = self.net.widths
        with torch.no_grad():
            for head, rows, offsets in zip(self.net.classifiers, weight.split(widths), bias.split(widths), strict=True):
                head.weight.copy_(rows)  # type: ignore[operator]
                head.bias.copy_(offsets)  # type: ignore[operator]
        freeze(self.net)
        self.memory.refactor(covariance)
        return covariance.shrunk.shrinkage

    def forgetting(self, index: int) -> list[NamedPhase]:
        def forget(phase: Phase) -> None:
            self.memory.forget(index)
            del self.net.classifiers[index]
            self._consolidate()

        return [NamedPhase("forget", "sleep", forget)]

    def dream(self, task: int, count: int, *, stream: int, step: int) -> tuple[Tensor, Tensor]:
        """`count` dreams of a task as vectors of the trunk, [count, features], and their class ids."""
        batch = dream(
            self.stack(),
            [0] * task + [count],
            seed=self.options.seed,
            stream=stream,
            step=step,
            backend=self._backend,
        )
        return batch.images, batch.class_ids

    def stack(self) -> GeneratorStack:
        """The generators of all tasks, as the kernels dream of them: one factor under every task's means."""
        shared, means = self.memory.shared, self.memory.means
        assert shared is not None
        tasks = len(self.memory.tasks)
        ends = torch.tensor([0, *(len(task.means) for task in self.memory.tasks)]).cumsum(0)
        factor, diagonal = torch.from_numpy(shared.factor), torch.from_numpy(shared.diagonal)
        return GeneratorStack(
            "gaussian",
            base_weight=factor.to(self.device).expand(tasks, -1, -1).contiguous(),
            class_bias=torch.from_numpy(means.means).to(self.device),
            class_offsets=ends.to(self.device),
            deviation=diagonal.sqrt().to(self.device).expand(tasks, -1).contiguous(),
            power=shared.transform.power,
            non_negative=not shared.transform.signed,
        )

    def state(self) -> dict[str, Tensor]:
        memory = {f"{_PREFIX}.{key}": torch.from_numpy(value) for key, value in self.memory.state().items()}
        return super().state() | memory

    def _build(self, state: dict[str, Tensor]) -> None:
        super()._build(state)
        arrays: dict[str, Any] = {key: value.cpu().numpy() for key, value in under(state, _PREFIX).items()}
        self.memory.load_state(arrays)
