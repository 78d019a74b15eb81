"""Read a learner back from the folder of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mygo_edge.domains.choice import domain_of_state
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.learn.method import Method
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.options import TrainOptions
from mygo_edge.run.checkpoint import Checkpoint
from mygo_edge.run.folder import RunFolder, read_config
from mygo_edge.run.forgetting import still_forgetting
from mygo_edge.run.methods import new_method

NamedTask = tuple[str, list[str]]  # a task's name and its classes'


class Saved(NamedTuple):
    """method: MyGO on the CPU; tasks: those that it has a memory of; options: of the run as it began; run_id: the
    learner's; publications: how many there were; consolidated: whether it is not between a wake and its sleep.
    """

    method: Method
    tasks: list[NamedTask]
    options: TrainOptions
    run_id: str
    publications: int
    consolidated: bool


def open_learner(run: Path) -> Saved:
    """MyGO as the checkpoint of the run in folder `run` has it. Writes nothing.

    Raises:
        MygoEdgeError: no run, a damaged one, or one without MyGO.
    """
    folder, options = RunFolder.open(run, writes=False)
    if "mygo" not in options.methods:
        raise MygoEdgeError(f"{run} did not run the method mygo, the one that remembers and publishes")
    checkpoint = Checkpoint(run / "checkpoint", writes=False)
    state = checkpoint.open(folder.run_id)
    tensors = checkpoint.get("mygo")
    if tensors is None:
        raise MygoEdgeError(f"{run} has not finished its first phase; go on with --resume {run}")
    try:
        method = new_method("mygo", domain_of_state(state, options, run), options, torch.device("cpu"))
        method.load(tensors)
        if state["forgetting"]:
            raise still_forgetting(state, run)
        tasks = [_named(task) for task in state["tasks"]]
        publications = int(state["publications"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise MygoEdgeError(f"{run}/checkpoint does not fit this run ({error}); start it again") from error
    asleep, learnt = _progress(method)
    return Saved(method, tasks[:learnt], options, folder.run_id, publications, asleep and learnt > 0)


def _progress(method: Method) -> tuple[bool, int]:
    """Whether everything that is remembered is consolidated, and how many tasks are remembered."""
    if isinstance(method, ExactMyGO):
        count = 0 if method.memory is None else len(method.memory.tasks)
        return method.consolidated, count
    assert isinstance(method, MyGO)
    return method.expert is None and len(method.memory) == len(method.net.classifiers), len(method.memory)


def count_publication(run: Path, sequence: int) -> None:
    """Let the run's counter be at least `sequence`. The caller has the run's folder open."""
    checkpoint = Checkpoint(run / "checkpoint")
    state = checkpoint.open(str(read_config(run)["run"]))
    if state["publications"] < sequence:
        checkpoint.commit({**state, "publications": sequence})


def _named(task: dict[str, Any]) -> NamedTask:
    return str(task["name"]), [str(name) for name in task["classes"]]


def reuse_generators(options: TrainOptions) -> list[FrozenGenerator]:
    """The generators of the run `options.memory.reuse`.

    Raises:
        MygoEdgeError: as `open_learner`, or that run's dataset, tasks, seed or memory options differ.
    """
    assert options.memory.reuse is not None
    saved = open_learner(options.memory.reuse)
    for name in ("dataset", "data_root", "tasks", "seed", "folder"):
        if getattr(saved.options, name) != getattr(options, name):
            raise MygoEdgeError(f"--memory.reuse {options.memory.reuse}: that run has another {name}")
    was, wanted = (replace(o.memory, reuse=None, generator=o.memory.network) for o in (saved.options, options))
    if was != wanted:
        raise MygoEdgeError(f"--memory.reuse {options.memory.reuse}: that run has other memory options; pass the same")
    if not isinstance(saved.method, MyGO):
        raise MygoEdgeError("--memory.reuse is for runs without a trunk, whose generators are GANs; leave it out")
    return list(saved.method.memory.generators)  # type: ignore[arg-type]
