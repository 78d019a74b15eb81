"""A stream of tasks from datasets into a learner, beside the methods that it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mygo_edge.data.datasets import load
from mygo_edge.data.tasks import Arrival, arrivals_of, refuse_single
from mygo_edge.domains.choice import domain_for
from mygo_edge.domains.domain import Domain
from mygo_edge.domains.features import Features
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.learn.team import LostError, Team, form_team, leave_team
from mygo_edge.learner import Learner
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.options import TrainOptions
from mygo_edge.options_json import as_json, from_json
from mygo_edge.run.allocator import keep_freed_memory
from mygo_edge.run.checkpoint import Checkpoint
from mygo_edge.run.device import check_team, choose_device
from mygo_edge.run.folder import RunFolder, free_folder, latest_options, refuse_taken
from mygo_edge.run.forgetting import forget
from mygo_edge.run.listeners import listen
from mygo_edge.run.methods import looks_back
from mygo_edge.run.phases import Interruption
from mygo_edge.run.progress import Display
from mygo_edge.run.saved import reuse_generators


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a run needs, read and checked. options: of the run as it began; newest: of the tasks to learn now, and
    whether they changed since the run stopped.
    """

    options: TrainOptions
    newest: TrainOptions
    changed: bool
    device: torch.device
    arrivals: list[Arrival]
    remembered: list[FrozenGenerator]
    folder: RunFolder
    domain: Domain | None = None  # of a new run


def start(options: TrainOptions) -> None:
    """Run to the end, with the team that `torchrun` started, if it did.

    Raises:
        MygoEdgeError: before anything is written, when options or data cannot work; later, when another process of
            the team is lost, or a task cannot be learnt.
    """
    keep_freed_memory()
    team = form_team()
    made: list[Setup] = []

    def prepare() -> dict[str, Any]:
        made.append(_prepare(options, team))
        setup = made[0]
        return {"path": str(setup.folder.path), "newest": as_json(setup.newest), "changed": setup.changed}

    told = team.ask_leader(prepare)
    setup = made[0] if made else _join(told)
    with setup.folder, Display(quiet=not team.leads) as display, Interruption() as interruption:
        try:
            _run(setup, options, team, display, interruption)
        except LostError:
            if interruption.asked and not team.leads:
                raise KeyboardInterrupt from None  # the leader was told to stop, and did
            raise
    leave_team()


def _run(setup: Setup, asked: TrainOptions, team: Team, display: Display, interruption: Interruption) -> None:
    options, path = setup.options, setup.folder.path
    names, count = ",".join(options.methods), len(setup.arrivals)
    processes = f" in {team.size} processes" if team.size > 1 else ""
    display.say(f"{setup.newest.dataset}: {count} tasks on {setup.device}{processes} -> {path}")
    display.say(f"methods: {names}")
    display.event(event="start", folder=path, device=setup.device, processes=team.size, tasks=count, methods=names)
    learner = Learner(
        setup.folder,
        options,
        device=setup.device,
        display=display,
        interruption=interruption,
        team=team,
        domain=setup.domain,
    )
    team.ask_leader(lambda: None)  # nobody replaces the checkpoint before all have read it
    runner = learner.runner_for(setup.arrivals)
    if isinstance(method := runner.methods.get("mygo"), MyGO):
        method.remembered = [generator.to(setup.device) for generator in setup.remembered]
    try:
        if asked.forget is not None:
            known = [task.name for task in runner.tasks]
            runner.add([arrival for arrival in setup.arrivals if arrival.name in known])
            forget(runner, asked.forget[0])
        else:
            if setup.changed:
                setup.folder.change_options([task.name for task in runner.tasks[runner.learnt :]], setup.newest)
                runner.restart_phase()
            learner.learn_all(setup.arrivals, setup.newest)
    except KeyboardInterrupt:
        display.say(f"stopped; go on with: python -m mygo_edge.train --resume {path}")
        raise
    display.say(
        f"done: {path}/report.html explains it"
        + (f"; devices take {path}/bundle" if method and method.publishes else "")
    )
    display.event(event="done", folder=path)


def _prepare(asked: TrainOptions, team: Team) -> Setup:
    """What the leader, or a process alone, does before a run: check everything, then take the folder."""
    earlier = asked.resume or asked.extend or (asked.forget[1] if asked.forget else None)
    if earlier is None:
        return _prepare_new(asked, team)
    newest = replace(_absolute(asked), resume=None, extend=None, forget=None, task_names=None)
    folder, options = RunFolder.open(earlier, on_event=listen(asked, earlier))
    try:
        check_team(options, team)
        device = choose_device(options)
        changed = asked.resume is not None and newest != replace(latest_options(earlier), task_names=None)
        arrivals = _arrivals_again(folder, newest if changed else None)
        if asked.extend is not None:
            _refuse_without_old(folder, options, arrivals)
            arrivals += _arrivals_to_extend(folder, replace(newest, task_names=asked.task_names))
        remembered = reuse_generators(options) if options.memory.reuse else []
    except BaseException:
        folder.__exit__()
        raise
    return Setup(options, newest, changed, device, arrivals, remembered, folder)


def _prepare_new(asked: TrainOptions, team: Team) -> Setup:
    path = asked.out or free_folder(Path("runs"), asked.dataset)
    refuse_taken(path)
    options = _absolute(asked)
    device = choose_device(options)
    check_team(options, team)
    arrivals = arrivals_of(load(options), options.tasks, _names(options))
    domain = domain_for(arrivals[0].train, options)  # refuses what cannot be learnt
    if isinstance(domain, Features):
        refuse_single(arrivals)
    remembered = reuse_generators(options) if options.memory.reuse else []
    stream = (options, [arrival.name for arrival in arrivals])
    folder = RunFolder.create(path, options, device, [stream], on_event=listen(options, path))
    return Setup(options, options, False, device, arrivals, remembered, folder, domain)


def _join(told: dict[str, Any]) -> Setup:
    """What the others do: read the same data for the same options."""
    folder, options = RunFolder.open(Path(told["path"]), writes=False)
    newest = from_json(told["newest"])
    arrivals = _arrivals_again(folder, newest if told["changed"] else None)
    return Setup(options, newest, told["changed"], choose_device(options), arrivals, [], folder)


def _arrivals_again(folder: RunFolder, newest: TrainOptions | None) -> list[Arrival]:
    """The run's tasks from the datasets that they came from; without those that are learnt and whose data is gone.

    Args:
        newest: options that say where the newest stream's data is now.
    """
    checkpoint = Checkpoint(folder.path / "checkpoint", writes=False)
    learnt = checkpoint.open(folder.run_id)["position"][0] if checkpoint.exists() else 0
    found: list[Arrival] = []
    streams, count = folder.streams(), 0
    for place, (options, names) in enumerate(streams):
        known = [name for name in names if name is not None]
        count += len(known)
        needed = count > learnt  # something of it is still to be learnt
        if newest is not None and place + 1 == len(streams):
            options = replace(
                options,
                data_root=newest.data_root,
                download=newest.download,
                folder=replace(options.folder, unreadable=newest.folder.unreadable),
                text=replace(options.text, bad_lines=newest.text.bad_lines),
            )
        try:
            arrivals = arrivals_of(load(options), options.tasks, [name or "forgotten" for name in names])
        except (MygoEdgeError, OSError) as error:
            if needed:
                raise
            if known:
                warn(f"{', '.join(known)}: the data is not there ({error}); not measured again")
            continue
        found += [arrival for arrival, name in zip(arrivals, names, strict=True) if name is not None]
    return found


def _refuse_without_old(folder: RunFolder, options: TrainOptions, arrivals: Sequence[Arrival]) -> None:
    """Raise MygoEdgeError where a method of the run learns from old tasks again, and their data is gone."""
    checkpoint = Checkpoint(folder.path / "checkpoint", writes=False)
    if not checkpoint.exists():
        return
    state = checkpoint.open(folder.run_id)
    needy = [name for name in options.methods if looks_back(name, state["domain"])]
    there = {arrival.name for arrival in arrivals}
    gone = [task["name"] for task in state["tasks"] if task["name"] not in there]
    if needy and gone:
        raise MygoEdgeError(
            f"{folder.path}: --methods {' '.join(needy)} take the data of all tasks, and that of {', '.join(gone)} is "
            "not there; put it back, or start a run without them"
        )


def _arrivals_to_extend(folder: RunFolder, options: TrainOptions) -> list[Arrival]:
    """New tasks for a run whose own are all learnt. Raises MygoEdgeError for names that clash."""
    streams = folder.streams()
    count = sum(len(names) for _, names in streams)
    arrivals = arrivals_of(load(options), options.tasks, _names(options), first=count)
    checkpoint = Checkpoint(folder.path / "checkpoint", writes=False)
    tasks = checkpoint.open(folder.run_id)["tasks"] if checkpoint.exists() else []
    waiting = {name for _, names in streams for name in names if name} - {task["name"] for task in tasks}
    if waiting or not checkpoint.exists() or checkpoint.open(folder.run_id)["position"][0] < len(tasks):
        raise MygoEdgeError(f"{folder.path} is not finished; go on with --resume {folder.path}, then extend it")
    taken = {name.casefold() for _, names in streams for name in names if name is not None}
    known = {label: task["name"] for task in tasks for label in task["classes"]}
    for arrival in arrivals:
        if arrival.name.casefold() in taken:
            raise MygoEdgeError(f"a task {arrival.name} is known already; give --task-names that are new")
        clash = [label for label in arrival.classes if label in known]
        if clash and options.task_names is None:
            raise MygoEdgeError(
                f"class {clash[0]!r} is known already, in task {known[clash[0]]}; tell the tasks apart by --task-names"
            )
    return arrivals


def _names(options: TrainOptions) -> list[str]:
    return options.task_names.split(",") if options.task_names else []


def _absolute(options: TrainOptions) -> TrainOptions:
    """Folders as absolute paths, so that a run can be resumed from anywhere."""
    root, reuse = options.data_root, options.memory.reuse
    memory = replace(options.memory, reuse=reuse.resolve() if reuse else None)
    return replace(options, data_root=root.resolve() if root else None, memory=memory)
