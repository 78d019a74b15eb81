"""From a learner, or from the checkpoint of a run, to a bundle version."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mygo_edge.bundle.images import as_pixels
from mygo_edge.bundle.manifest import InputFormat
from mygo_edge.data.datasets import MEAN, STD, load
from mygo_edge.data.tasks import class_groups
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.bundle import publish
from mygo_edge.export.recipes import MAX_LOSS
from mygo_edge.export.samples import Labelled
from mygo_edge.learn.methods import MyGO
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.options import TrainOptions
from mygo_edge.run.checkpoint import Checkpoint
from mygo_edge.run.folder import RunFolder

NamedTask = tuple[str, Sequence[str]]  # a task's name and its classes'


def publish_learner(bundle: Path, method: MyGO, tasks: Sequence[NamedTask], *, sequence: int, **how: Any) -> Path:
    """Write version `sequence` of the bundle and return its folder.

    `how`: precision and its gate, as `mygo_edge.export.bundle.publish` takes them. A run publishes in fp32 after every
    sleep, which takes a fraction of a second; calibrating and comparing other precisions takes many.
    """
    generators: list[FrozenGenerator] = list(method.memory.generators)  # type: ignore[arg-type]
    channels = method.shape[0]
    return publish(
        bundle,
        net=method.net,
        generators=generators,
        tasks=tasks,
        mean=[MEAN] * channels,
        std=[STD] * channels,
        sequence=sequence,
        **how,
    )


def weigh(version: Path, tasks: Sequence[NamedTask], shape: tuple[int, int, int]) -> dict[str, Any]:
    """The `bytes` entry of summary.json: the classifier's file, the generators' files, and how many raw training images
    (a byte a channel of a pixel) would fit into the bytes of all generators.
    """
    sizes = [(version / f"generator-{name}.onnx").stat().st_size for name, _ in tasks]
    return {
        "classifier": (version / "classifier.onnx").stat().st_size,
        "generators": sizes,
        "equivalent_images": sum(sizes) // (shape[0] * shape[1] * shape[2]),
    }


def open_learner(run: Path) -> tuple[MyGO, TrainOptions, list[NamedTask]]:
    """MyGO as the checkpoint of the run in folder `run` has it, with the run's options and the learnt tasks.

    Raises:
        MygoEdgeError: no run, a damaged one, or one without MyGO.
    """
    folder, options = RunFolder.open(run, reads_only=True)
    with folder:
        if "mygo" not in options.methods:
            raise MygoEdgeError(f"{run} did not run the method mygo, the one that remembers and publishes")
        checkpoint = Checkpoint(run / "checkpoint")
        state = checkpoint.open(folder.run_id)
        tensors = checkpoint.get("mygo")
    if tensors is None:
        raise MygoEdgeError(f"{run} has not finished its first phase; go on with --resume {run}")
    try:
        method = MyGO(tuple(state["shape"]), options, torch.device("cpu"))
        method.load(tensors)
        tasks: list[NamedTask] = [
            (str(task["name"]), [str(name) for name in task["classes"]]) for task in state["tasks"]
        ]
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise MygoEdgeError(f"{run}/checkpoint does not fit this run ({error}); start it again") from error
    return method, options, tasks[: len(method.memory)]


def publish_run(
    run: Path,
    bundle: Path,
    *,
    precision: str = "fp32",
    max_loss: float = MAX_LOSS,
    data_root: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Publish what the run in folder `run` has learnt so far.

    Args:
        run, bundle: folders.
        precision, max_loss, say: as in `mygo_edge.export.bundle.publish`.
        data_root: folder of the run's dataset; its test images are then part of what max_loss is held against.

    Raises:
        MygoEdgeError: as `publish` and `open_learner`, or the run stopped between a wake and its sleep, or the dataset
            is not there or not the run's.
    """
    method, options, tasks = open_learner(run)
    if method.expert is not None or len(tasks) != len(method.net.classifiers) or not tasks:
        raise MygoEdgeError(
            f"{run} stopped between a wake and its sleep; go on with --resume {run}, or use {run}/bundle, which holds "
            "the last consolidated version"
        )
    real = [] if data_root is None else real_images(replace(options, data_root=data_root, download=False), tasks)
    bundle.mkdir(parents=True, exist_ok=True)
    return publish_learner(
        bundle, method, tasks, sequence=len(tasks), precision=precision, max_loss=max_loss, real=real, say=say
    )


def real_images(options: TrainOptions, tasks: Sequence[NamedTask]) -> list[Labelled]:
    """The test images of a run's `tasks`, as raw pixels. Raises MygoEdgeError when the dataset has other classes."""
    dataset = load(options)
    groups = class_groups(options.tasks, len(dataset.classes))[: len(tasks)]
    if [[dataset.classes[index] for index in group] for group in groups] != [list(classes) for _, classes in tasks]:
        raise MygoEdgeError(f"{options.data_root} holds other classes than the run learnt; give the run's dataset")
    form = InputFormat(dataset.shape, (MEAN,), (STD,))
    found = []
    for group in groups:
        rows = [dataset.test.labels == index for index in group]
        images = torch.cat([dataset.test.images[row] for row in rows])
        class_id = torch.cat([torch.full((int(row.sum()),), index) for index, row in enumerate(rows)])
        found.append(Labelled(as_pixels(images.numpy(), form), class_id.numpy()))
    return found


def reuse_generators(options: TrainOptions) -> list[FrozenGenerator]:
    """The generators of the run `options.memory.reuse`.

    Raises:
        MygoEdgeError: as `open_learner`, or that run's dataset, tasks, seed or memory options differ.
    """
    assert options.memory.reuse is not None
    method, other, _ = open_learner(options.memory.reuse)
    for name in ("dataset", "data_root", "tasks", "seed", "folder"):
        if getattr(other, name) != getattr(options, name):
            raise MygoEdgeError(f"--memory.reuse {options.memory.reuse}: that run has another {name}")
    if replace(other.memory, reuse=None) != replace(options.memory, reuse=None):
        raise MygoEdgeError(f"--memory.reuse {options.memory.reuse}: that run has other memory options; pass the same")
    return list(method.memory.generators)  # type: ignore[arg-type]
