"""Start or resume a run: device, data, folder, and then the loop."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mygo_edge.data.datasets import load
from mygo_edge.data.tasks import Task, make_tasks
from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.backend import BackendError, choose_backend
from mygo_edge.kernels.exactness import set_exact_arithmetic
from mygo_edge.learn.methods import MyGO
from mygo_edge.learn.team import LostError, Team, form_team, leave_team
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.options import TrainOptions, as_json, from_json
from mygo_edge.run.allocator import keep_freed_memory
from mygo_edge.run.folder import RunFolder, free_folder, refuse_taken
from mygo_edge.run.phases import Interruption
from mygo_edge.run.progress import Display
from mygo_edge.run.publish import reuse_generators
from mygo_edge.run.runner import Runner


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a run needs, read and checked."""

    options: TrainOptions
    device: torch.device
    tasks: list[Task]
    fingerprint: str
    remembered: list[FrozenGenerator]
    folder: RunFolder


def start(options: TrainOptions) -> None:
    """Run to the end, with the team that `torchrun` started, if it did.

    Raises:
        MygoEdgeError: before anything is written, when options or data cannot work; later, when another process of
            the team is lost.
    """
    keep_freed_memory()
    team = form_team()
    made: list[Setup] = []

    def prepare() -> dict[str, Any]:
        made.append(_prepare(options, team))
        folder = made[0].folder
        return {"path": str(folder.path), "run": folder.run_id, "options": as_json(made[0].options)}

    told = team.ask_leader(prepare)
    setup = made[0] if made else _join(told, team)
    with setup.folder, Display(quiet=not team.leads) as display, Interruption() as interruption:
        try:
            _run(setup, team, display, interruption, resumed=options.resume is not None)
        except LostError:
            if interruption.asked and not team.leads:
                raise KeyboardInterrupt from None  # the leader was told to stop, and did
            raise
    leave_team()


def _run(setup: Setup, team: Team, display: Display, interruption: Interruption, *, resumed: bool) -> None:
    options, folder = setup.options, setup.folder
    names, path = ",".join(options.methods), folder.path
    processes = f" in {team.size} processes" if team.size > 1 else ""
    display.say(f"{options.dataset}: {len(setup.tasks)} tasks, {names}, on {setup.device}{processes} -> {path}")
    display.event(
        event="start", folder=path, device=setup.device, processes=team.size, tasks=len(setup.tasks), methods=names
    )
    runner = Runner(options, setup.tasks, folder, setup.fingerprint, setup.device, display, interruption, team)
    if isinstance(method := runner.methods.get("mygo"), MyGO):
        method.remembered = [generator.to(setup.device) for generator in setup.remembered]
    if resumed:
        runner.resume()
        team.ask_leader(lambda: None)  # nobody replaces the checkpoint before all have read it
    try:
        runner.run()
    except KeyboardInterrupt:
        display.say(f"stopped; go on with: python -m mygo_edge.train --resume {path}")
        raise
    display.say(f"done: {path}/summary.json and {path}/plots" + (f", {path}/bundle" if method else ""))
    display.event(event="done", folder=path)


def _prepare(options: TrainOptions, team: Team) -> Setup:
    """What the leader, or a process alone, does before a run: check everything, then take the folder."""
    folder, path = None, options.out or free_folder(Path("runs"), options.dataset)
    if options.resume is not None:
        path = options.resume
        folder, options = RunFolder.open(path)
    else:
        refuse_taken(path)
        options = _absolute(options)
    device = choose_device(options)
    check_team(options, team)
    tasks, fingerprint = _load(options, device)
    remembered = reuse_generators(options) if options.memory.reuse else []
    folder = folder or RunFolder.create(path, options, device)
    return Setup(options, device, tasks, fingerprint, remembered, folder)


def _join(told: dict[str, Any], team: Team) -> Setup:
    """What the others do: read the same data for the same options."""
    options = from_json(told["options"])
    device = choose_device(options)
    tasks, fingerprint = _load(options, device)
    return Setup(options, device, tasks, fingerprint, [], RunFolder(Path(told["path"]), told["run"], writes=False))


def _load(options: TrainOptions, device: torch.device) -> tuple[list[Task], str]:
    dataset = load(options)
    batch = max(options.wake.batch_size, options.memory.batch_size)
    return make_tasks(dataset, options.tasks, batch_size=batch, device=device), dataset.fingerprint()


def _absolute(options: TrainOptions) -> TrainOptions:
    """Folders as absolute paths, so that a run can be resumed from anywhere."""
    root, reuse = options.data_root, options.memory.reuse
    memory = replace(options.memory, reuse=reuse.resolve() if reuse else None)
    return replace(options, data_root=root.resolve() if root else None, memory=memory)


def check_team(options: TrainOptions, team: Team) -> None:
    """Raise MygoEdgeError for what several processes cannot share."""
    if options.memory.reuse and team.size > 1:
        raise MygoEdgeError("--memory.reuse is for a single process; start without torchrun")
    sleep = options.sleep.batch_size or options.sleep.dreams_per_task
    for name, size in (("--wake.batch-size", options.wake.batch_size), ("a sleep's batch", sleep)):
        if size < team.size:
            raise MygoEdgeError(f"{name} of {size} cannot be divided among {team.size} processes; start fewer")


def choose_device(options: TrainOptions) -> torch.device:
    """The device to learn on, with deterministic kernels; under torchrun, a GPU for each process.

    Raises:
        MygoEdgeError: the device is not there, or precision, backend or step do not go with it.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise MygoEdgeError("--device cuda: PyTorch sees no CUDA device here; check the driver, or use --device cpu")
    name = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"
    if name == "cpu" and options.precision != "fp32":
        raise MygoEdgeError("--precision bf16 is for CUDA; use fp32 on the CPU")
    if name == "cpu" and options.step == "graph":
        raise MygoEdgeError("--step graph is for CUDA; use auto, eager or compile on the CPU")
    try:
        choose_backend(None if options.backend == "auto" else options.backend, name)
    except BackendError as error:
        raise MygoEdgeError(f"--backend {options.backend}: {error}") from error
    if name == "cpu":
        return torch.device(name)
    set_exact_arithmetic()
    place, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= count:
        raise MygoEdgeError(
            f"process {place + 1} of this machine has no GPU of its own: there are {count}; start fewer"
        )
    torch.cuda.set_device(place)
    return torch.device(name, place)
