"""Tiny networks and real bundles of them, for the tests of export and runtime."""

import json
from pathlib import Path
from typing import Any

import torch

from mygo_edge.export.bundle import publish
from mygo_edge.files import sha256
from mygo_edge.model.gan import FrozenGenerator, Generator
from mygo_edge.model.network import NeocortexNet, Shape

SHAPE: Shape = (1, 8, 8)
TASKS = [("parity", ["even", "odd"]), ("size", ["small", "medium", "large"]), ("sign", ["minus", "plus"])]


def tiny_net(tasks: int, shape: Shape = SHAPE, seed: int = 0) -> NeocortexNet:
    """A network of random weights with heads for the first `tasks` of TASKS."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = NeocortexNet(shape)
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
        **how,
    )


def edit_manifest(folder: Path, **values: object) -> None:
    """Replace top-level values of a version's manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Replace a file of a version and make the manifest agree, as someone who can write to the folder could."""
    (folder / name).write_bytes(data)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    for entry in files:
        if entry["path"] == name:
            entry |= {"sha256": sha256(data), "bytes": len(data)}
    edit_manifest(folder, files=files)
