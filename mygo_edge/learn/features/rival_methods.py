"""Rivals in a run: they learn from the same vectors of the trunk, and answer beside MyGO."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.domains.features import Features
from mygo_edge.learn.features.rivals import FeCAM, Finetune, Joint, NearestMean, RanPAC, Rival, StreamingLDA
from mygo_edge.learn.method import Method, NamedPhase
from mygo_edge.learn.phase import Phase
from mygo_edge.options import TrainOptions

MAKERS: dict[str, Callable[[int, int], Rival]] = {  # of the vectors' width and the seed
    "ncm": lambda width, seed: NearestMean(),
    "slda": lambda width, seed: StreamingLDA(),
    "fecam": lambda width, seed: FeCAM(),
    "ranpac": lambda width, seed: RanPAC(width, seed=seed),
    "joint": lambda width, seed: Joint(seed),
}


class FinetuneMethod(Method):
    """Linear heads of a task's own, which a run that goes on takes up."""

    name = "finetune"

    def __init__(self, domain: Features, options: TrainOptions, device: torch.device) -> None:
        super().__init__(options, device)
        self._heads = Finetune(options.seed)
        self.looks_back = True  # until it has heads: a checkpoint of an older version kept none

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        return [NamedPhase("learn", "wake", partial(self._learn, tasks))]

    def _learn(self, tasks: Sequence[Task], phase: Phase) -> None:
        for task in tasks:
            first = sum(head.out_features for head in self._heads.heads)
            self._heads.learn(task.train.inputs.numpy(), task.train.labels.numpy() + first)
            phase.breathe()
        self.looks_back = False

    def forgetting(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        def forget(phase: Phase) -> None:
            if self.looks_back:
                self._learn(tasks, phase)
            else:
                del self._heads.heads[index]

        return [NamedPhase("forget", "wake", forget)]

    def logits(self, inputs: Tensor) -> Tensor:
        return torch.from_numpy(self._heads.logits(inputs.numpy()))

    @property
    def bytes(self) -> int:
        return self._heads.bytes

    def state(self) -> dict[str, Tensor]:
        return self._heads.state()

    def load(self, state: dict[str, Tensor]) -> None:
        if state:
            self._heads.load(state)
            self.looks_back = not self._heads.heads


class RivalMethod(Method):
    """A rival, learnt task after task. Nothing of it is kept on disk, where real vectors have no place: a run that goes
    on learns it anew from all tasks.
    """

    looks_back = True  # when a run goes on; joint always does
    keeps = False

    def __init__(self, name: str, domain: Features, options: TrainOptions, device: torch.device) -> None:
        super().__init__(options, device)
        self.name, self._width = name, domain.features
        self._rival: Rival | None = None
        self._learnt = 0

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        return [NamedPhase("learn", "wake", partial(self._learn, tasks))]

    def forgetting(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        def anew(phase: Phase) -> None:
            self._learnt = 0
            self._learn(tasks, phase)

        return [NamedPhase("forget", "wake", anew)]

    def _learn(self, tasks: Sequence[Task], phase: Phase) -> None:
        if self._rival is None or not self._learnt:
            self._rival, self._learnt = MAKERS[self.name](self._width, self.options.seed), 0
        first = sum(len(task.classes) for task in tasks[: self._learnt])
        for task in tasks[self._learnt :]:
            self._rival.learn(task.train.inputs.numpy(), task.train.labels.numpy() + first)
            first += len(task.classes)
            phase.breathe()
        self._learnt = len(tasks)
        self._rival.settle()

    def logits(self, inputs: Tensor) -> Tensor:
        assert self._rival is not None
        return torch.from_numpy(np.asarray(self._rival.logits(inputs.numpy()), np.float32))

    @property
    def bytes(self) -> int:
        return 0 if self._rival is None else self._rival.bytes

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        pass
