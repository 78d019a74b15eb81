"""Tiny networks and real bundles of them, for the tests of export, bundle, device and update."""

from pathlib import Path
from typing import Any

import torch

from mygo_edge.domains.pixels import network
from mygo_edge.export.bundle import publish
from mygo_edge.model.gan import FrozenGenerator, Generator
from mygo_edge.model.network import NeocortexNet, Shape
from tests.damage import edit_manifest as edit_manifest
from tests.damage import replace_file as replace_file

SHAPE: Shape = (1, 8, 8)
LEARNER = "5ec0de" + "0" * 26  # of all that is published here
TASKS = [("parity", ["even", "odd"]), ("size", ["small", "medium", "large"]), ("sign", ["minus", "plus"])]


def tiny_net(tasks: int, shape: Shape = SHAPE, seed: int = 0) -> NeocortexNet:
    """A network of random weights with heads for the first `tasks` of TASKS."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = network(shape)
        for _, classes in TASKS[:tasks]:
            net.add_task_head(len(classes))
    return net


def tiny_generator(classes: int, shape: Shape = SHAPE, seed: int = 0) -> FrozenGenerator:
    """A generator of random weights, wide enough that dreams differ and few pixels saturate."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = Generator(shape, classes, width=8).eval()
        for parameter in generator.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return generator.freeze()


def tiny_generators(tasks: int) -> list[FrozenGenerator]:
    """One for each of the first `tasks` of TASKS; the same at every call."""
    return [tiny_generator(len(classes), seed=index) for index, (_, classes) in enumerate(TASKS[:tasks])]


def publish_tiny(bundle_dir: Path, tasks: int, *, sequence: int | None = None, seed: int = 0, **how: Any) -> Path:
    """Publish the first `tasks` of TASKS; `seed` is of the classifier, `how` as for `publish`."""
    return publish(
        bundle_dir,
        net=tiny_net(tasks, seed=seed),
        generators=tiny_generators(tasks),
        tasks=TASKS[:tasks],
        mean=[0.5],
        std=[0.5],
        sequence=tasks if sequence is None else sequence,
        **{"learner_id": LEARNER} | how,
    )
