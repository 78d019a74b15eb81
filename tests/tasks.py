"""Tasks of a dataset as learning takes them, for tests."""

import torch

from mygo_edge.data.datasets import load
from mygo_edge.data.tasks import Arrival, Task, arrivals_of
from mygo_edge.domains.domain import Domain
from mygo_edge.options import TrainOptions


def tasks_of(options: TrainOptions, domain: Domain, device: torch.device | None = None) -> list[Task]:
    """The tasks that `options` name, prepared for `domain`."""
    return [prepared(arrival, domain, device) for arrival in arrivals_of(load(options), options.tasks)]


def prepared(arrival: Arrival, domain: Domain, device: torch.device | None = None) -> Task:
    where = device or torch.device("cpu")
    return Task(
        arrival.name, arrival.classes, arrival.train, arrival.test, lambda inputs: domain.prepare(inputs, where)
    )
