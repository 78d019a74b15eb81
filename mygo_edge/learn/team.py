"""Several processes that learn together: each takes a share of every batch, and gradients are added over all.

Started by `torchrun`. Data and dreams are functions of seed, step and sample, so N processes see what one would.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mygo_edge.errors import MygoEdgeError

Json = Any  # what `json` can write and read back

PATIENCE = timedelta(hours=2)  # the leader evaluates and publishes while the others wait


class LostError(MygoEdgeError):
    """Another process of the team is gone."""


@dataclass(frozen=True, slots=True)
class Team:
    """This process's place: `rank` of `size`. The one with rank 0 leads: it alone writes, evaluates and publishes."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch: every `size`-th, from `rank` on."""
        return rows[self.rank :: self.size]

    def add_gradients(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Add gradients over the team, in place, and return the sum of the losses.

        Raises:
            LostError: another process is gone.
        """
        if self.size == 1:
            return loss
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([loss.detach().float().view(1), *(gradient.flatten() for gradient in gradients)])
        self._together(lambda: dist.all_reduce(flat))
        total, *parts = flat.split([1, *(gradient.numel() for gradient in gradients)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return total[0]

    def follow(self, tensors: Sequence[Tensor]) -> None:
        """Take over the leader's values of `tensors`, in place. Raises LostError."""
        if self.size > 1:
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                self._together(lambda whole=whole: dist.broadcast(whole, 0))  # type: ignore[misc]
                tensor.detach().copy_(whole)

    def ask_leader(self, work: Callable[[], Json]) -> Json:
        """The leader's answer, on every process. When the leader's work fails, the others leave with its status.

        Raises:
            LostError: another process is gone.
        """
        if self.size == 1:
            return work()
        length = torch.full((), -1)  # of the answer as JSON; -1: there is none
        if not self.leads:
            self._together(lambda: dist.broadcast(length, 0))
            if length < 0:
                raise SystemExit(2)  # the leader says why
            text = torch.empty(int(length), dtype=torch.uint8)
            self._together(lambda: dist.broadcast(text, 0))
            return json.loads(text.numpy().tobytes())
        try:
            answer = work()
            text = torch.tensor(list(json.dumps(answer).encode()), dtype=torch.uint8)
            length.fill_(len(text))
        finally:
            self._together(lambda: dist.broadcast(length, 0))
        self._together(lambda: dist.broadcast(text, 0))
        return answer

    def _together(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as reason:
            first = str(reason).splitlines()[0]
            raise LostError(
                f"process {self.rank} of {self.size} lost another one ({first}); the run's last checkpoint is whole: "
                "go on with --resume and the run's folder, under torchrun or alone"
            ) from reason


ALONE = Team()


def form_team() -> Team:
    """The team that `torchrun` announces in the environment; alone without it. NCCL between GPUs, gloo between CPUs."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Team(dist.get_rank(), dist.get_world_size())


def leave_team() -> None:
    """Close the connections, where there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
