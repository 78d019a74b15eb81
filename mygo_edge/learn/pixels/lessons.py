"""What a sleep learns from: dreams and what the teachers see in them, made ahead for many steps at once.

Generators and teachers are frozen during a sleep, so when their part is done changes nothing but the time it takes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mygo_edge.kernels.dream import DreamBatch
from mygo_edge.learn.team import ALONE, Team
from mygo_edge.model.memory import GenerativeMemory

CHUNK = 256  # dreams a teacher sees at once: its activations, 50 KB an image of 28 x 28 pixels, stay near a CPU's cache


class Lesson(NamedTuple):
    """One step's batch, task by task.

    dreams: [batch, *shape], augmented; teacher_features: [batch, width], of the teacher that knows the dream's task;
    task_ids: int64 [batch].
    """

    dreams: Tensor
    teacher_features: Tensor
    task_ids: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """How many dreams of every task there are, and how they are dealt to steps.

    counts: dreams of each task in a round; steps: the steps that a round's dreams are dealt to like cards. One, unless
    there are more tasks than dreams a step.
    """

    counts: tuple[int, ...]
    steps: int = 1

    @property
    def batch_size(self) -> int:
        return sum(self.counts) // self.steps

    @property
    def task_weights(self) -> list[float]:
        """What makes all tasks count alike, however unevenly the dreams divide."""
        return [max(self.counts) / count for count in self.counts]

    def part(self, place: int, team: Team) -> tuple[int, int]:
        """Which of a round's dreams a process takes at the round's step `place`: rank and world of `dream`."""
        return place + self.steps * team.rank, self.steps * team.size


def plan_dreams(tasks: int, per_task: int, batch_size: int | None) -> Plan:
    """`per_task` dreams of every task a step; or `batch_size` of all tasks together, divided as evenly as can be.

    What is left over goes to the newest tasks, one dream each.
    """
    if batch_size is None:
        return Plan((per_task,) * tasks)
    steps = -(-tasks // batch_size)
    each, left = divmod(steps * batch_size, tasks)
    return Plan(tuple(each + (task >= tasks - left) for task in range(tasks)), steps)


class Lessons:
    """`lessons(step)` is the lesson of a step, for this process.

    Args:
        old_features, new_features: what maps dreams to features in the old teacher, for dreams of tasks before
            `new_task`, and in the new one, for the others.
        width: of the features.
        seed, stream: whose dreams they are.
        augmented: what is learnt from in place of a dream (`LearntDomain.augmented_dreams` of mygo_edge.domains).
        total: steps of the sleep.
        ahead_bytes: memory for what is made ahead; at least one round is.
    """

    def __init__(
        self,
        memory: GenerativeMemory,
        plan: Plan,
        old_features: Callable[[Tensor], Tensor],
        new_features: Callable[[Tensor], Tensor],
        *,
        new_task: int,
        width: int,
        seed: int,
        stream: int,
        augmented: Callable[[DreamBatch], Tensor],
        total: int = 1,
        ahead_bytes: float = 0,
        team: Team = ALONE,
    ) -> None:
        self._memory, self._plan, self._team = memory, plan, team
        self._old_features, self._new_features, self._new_task = old_features, new_features, new_task
        self._width = width
        self._seed, self._stream, self._augmented = seed, stream, augmented
        self._rounds = -(-total // plan.steps)
        dreams = -(-sum(plan.counts) // team.size)
        self.rounds_ahead = max(1, int(ahead_bytes // (4 * dreams * (math.prod(memory.shape) + width))))
        self._window: list[list[Lesson]] = []  # a list of lessons for each place in a round
        self._from: int | None = None

    def __call__(self, step: int) -> Lesson:
        round_, place = divmod(step, self._plan.steps)
        # Windows begin at multiples of their length, so that a resumed sleep computes in the same batches.
        begin = round_ - round_ % self.rounds_ahead
        if begin != self._from:
            self._window = []  # before the next ones need the memory
            count = max(1, min(self.rounds_ahead, self._rounds - begin))
            self._window = [self._prepare(begin, count, place) for place in range(self._plan.steps)]
            self._from = begin
        return self._window[place][round_ - begin]

    def of_rounds(self, begin: int, count: int) -> Iterator[Lesson]:
        """All lessons of `count` rounds from `begin` on, as many rounds made at once as are made ahead."""
        for start in range(begin, begin + count, self.rounds_ahead):
            for place in range(self._plan.steps):
                yield from self._prepare(start, min(self.rounds_ahead, begin + count - start), place)

    @torch.no_grad()
    def _prepare(self, begin: int, count: int, place: int) -> list[Lesson]:
        """The lessons of `count` rounds at one place in the round."""
        rank, world = self._plan.part(place, self._team)
        dreams = self._memory.dream(
            self._plan.counts, seed=self._seed, stream=self._stream, step=begin, steps=count, part=(rank, world)
        )
        inputs = self._augmented(dreams).unflatten(0, (count, -1))  # [rounds, batch, *shape]
        old = len(range(rank, sum(self._plan.counts[: self._new_task]), world))  # dreams of old tasks a round
        features = torch.cat(
            [
                by_chunks(self._old_features, inputs[:, :old], self._width),
                by_chunks(self._new_features, inputs[:, old:], self._width),
            ],
            1,
        )
        task_ids = dreams.task_ids.unflatten(0, (count, -1))
        return [Lesson(*parts) for parts in zip(inputs, features, task_ids, strict=True)]


def by_chunks(features_of: Callable[[Tensor], Tensor], inputs: Tensor, width: int) -> Tensor:
    """Features [rounds, batch, width] of inputs [rounds, batch, *shape]."""
    rounds, batch = inputs.shape[:2]
    if not batch:
        return inputs.new_empty(rounds, 0, width)
    at_once = max(1, CHUNK // batch)
    parts = [features_of(part.flatten(0, 1)) for part in inputs.split(at_once)]
    return torch.cat(parts).unflatten(0, (rounds, batch))
