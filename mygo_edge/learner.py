"""Learner: a learner on disk, for programs. It learns tasks as they arrive, forgets on demand, answers, publishes."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mygo_edge.bundle.images import to_pixels
from mygo_edge.bundle.labels import listed
from mygo_edge.bundle.manifest import TASK_NAME
from mygo_edge.data.arrays import arrival_from, class_name, raw_inputs
from mygo_edge.data.conversion import brought_to, pictures_read
from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Arrival, folder_arrival, weak_classes
from mygo_edge.device.dreaming import Dreams
from mygo_edge.domains.choice import domain_for, domain_of_state, keep_domain, note_for, terms_of
from mygo_edge.domains.domain import Domain
from mygo_edge.domains.idle import idle_options
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.publication import publish_after_sleep, publish_learner, weigh
from mygo_edge.learn.method import Method
from mygo_edge.learn.team import ALONE, Team
from mygo_edge.options import TrainOptions
from mygo_edge.options_check import check
from mygo_edge.run.checkpoint import Checkpoint
from mygo_edge.run.device import choose_device
from mygo_edge.run.folder import Event, RunFolder
from mygo_edge.run.forgetting import forget, still_forgetting
from mygo_edge.run.phases import Interruption
from mygo_edge.run.progress import Display
from mygo_edge.run.runner import NamedTask, Runner

BATCH = 2000


class Learner:
    """A run's folder with a learner in it. One process at a time has it open; `with` or `close` lets it go.

    Everything that was learnt survives a kill at any moment: open it again, and call `learn` with the same data to go
    on with a task that was not finished, to the same result.
    """

    def __init__(
        self,
        folder: RunFolder,
        options: TrainOptions,
        *,
        device: torch.device | None = None,
        display: Display | None = None,
        interruption: Interruption | None = None,
        team: Team = ALONE,
        domain: Domain | None = None,
    ) -> None:
        """Of an open folder; `domain` of the first data, where it is known. Programs want `create` or `open`."""
        self._domain = domain
        self.folder, self.options, self._team = folder, options, team
        self._device = device or choose_device(options)
        self._display, self._interruption = display or Display(quiet=True), interruption or Interruption()
        self.runner: Runner | None = None  # from the first data on, which says what a dream is
        checkpoint = Checkpoint(folder.path / "checkpoint", writes=False)
        if checkpoint.exists():
            try:
                domain = domain_of_state(checkpoint.open(folder.run_id), options, folder.path)
            except (KeyError, TypeError, ValueError) as error:
                raise MygoEdgeError(f"{folder.path}/checkpoint is damaged ({error!r}); start the run again") from error
            self.runner = self._new_runner(domain)
            self.runner.resume()
        else:
            folder.cut_log(0)

    @classmethod
    def create(
        cls,
        path: str | Path,
        options: TrainOptions | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
    ) -> "Learner":
        """A new learner in a folder that is absent or empty.

        Args:
            options: how to learn (default: the default preset); those that name datasets and folders are not used.
            on_event: called with every event that metrics.jsonl gets.

        Raises:
            MygoEdgeError: options that cannot work, or a folder that holds something.
        """
        options = replace(options or TrainOptions(), dataset="arrays", methods=("mygo",), out=None, resume=None)
        check(options)
        folder = RunFolder.create(Path(path), options, choose_device(options), on_event=on_event)
        return cls(folder, options)

    @classmethod
    def open(cls, path: str | Path, *, on_event: Callable[[Event], None] | None = None) -> "Learner":
        """The learner of an earlier run, of a program or of `python -m mygo_edge.train`.

        Raises:
            MygoEdgeError: no run, a damaged one, or one that another process has open.
        """
        folder, options = RunFolder.open(Path(path), on_event=on_event)
        try:
            return cls(folder, options)
        except BaseException:
            folder.__exit__()
            raise

    def __enter__(self) -> "Learner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes have the folder."""
        self.folder.__exit__()

    @property
    def id(self) -> str:
        """Random, made once; in the manifest of everything that this learner publishes."""
        return self.folder.run_id

    @property
    def tasks(self) -> dict[str, list[str]]:
        """Names of the tasks learnt so far -> names of their classes."""
        return {} if self.runner is None else dict(self.runner.named_tasks[: self.runner.learnt])

    def learn(
        self,
        name: str,
        inputs: Any,
        labels: Any = None,
        *,
        classes: Sequence[str] | None = None,
        test: tuple[Any, Any] | None = None,
    ) -> None:
        """Learn a task, consolidate it in a sleep, and publish it to the folder's bundle.

        Args:
            name: of letters, digits, "_" and "-".
            inputs, labels, classes, test: see `mygo_edge.data.arrays.arrival_from`; or `inputs` is a folder with one
                sub-folder of images a class. Images of another size or colour are brought to those of the first task.

        Raises:
            MygoEdgeError: data that it cannot take, a name that is taken, or a memory that could not be made. What was
                learnt before stays, and is published.
        """
        if not isinstance(name, str) or TASK_NAME.fullmatch(name) is None:
            raise MygoEdgeError(f"{name!r} cannot name a task; use letters, digits, '_' and '-', 64 at most")
        if labels is None and isinstance(inputs, str | Path):
            known = self.runner.domain if self.runner is not None else None
            shape = known.shape if known is not None and known.name == "pixels" else None
            arrival = folder_arrival(name, Path(inputs), self.options, shape)
        else:
            arrival = arrival_from(name, inputs, labels, classes=classes, test=test)
            test_read = arrival.test and self._read(arrival.test)
            arrival = replace(arrival, train=self._read(arrival.train), test=test_read)
        with self._listening():
            self.learn_all([arrival])

    def learn_all(self, arrivals: Sequence[Arrival], options: TrainOptions | None = None) -> None:
        """Learn tasks one after another, those first that an earlier process did not finish; before them all, finish
        forgetting one, where that was cut off.

        Args:
            options: where new tasks come from and how they are learnt (default: the learner's own).

        Raises:
            MygoEdgeError: as `learn`.
        """
        runner = self.runner_for(arrivals)
        arrivals = [self._fitting(arrival) for arrival in arrivals]
        if runner.state["forgetting"]:
            half_forgotten = runner.state["forgetting"]["task"]
            known = [task.name for task in runner.tasks]
            runner.add([arrival for arrival in arrivals if arrival.name in known])  # to be measured
            with self._recovering(runner):
                forget(runner, half_forgotten)
            if options is not None:  # the run's own data, which is of tasks that it was to know
                arrivals = [arrival for arrival in arrivals if arrival.name != half_forgotten]
        known = [task.name for task in runner.tasks]
        new = [arrival for arrival in arrivals if arrival.name not in known]
        waiting = {task.name for task in runner.tasks[runner.learnt :]} - {arrival.name for arrival in arrivals}
        if waiting and new:
            raise MygoEdgeError(f"{min(waiting)} is not finished; learn it again with its data first")
        if (again := [a.name for a in arrivals if a.name in known[: runner.learnt]]) and not options:
            raise MygoEdgeError(f"task {again[0]} is learnt already; give another name")
        unremembered: list[str] = []
        try:
            self._refuse_unfit(runner, [a for a in arrivals if a.name not in known[: runner.learnt]])
            if unremembered := [a.name for a in new if a.name not in self._remembered()]:
                self.folder.add_stream(options or self.options, unremembered)
            with self._recovering(runner):
                runner.add(arrivals)
            for line in weak_classes(new) if runner.domain.name == "pixels" else ():
                self._tell(line)
            with self._recovering(runner):
                runner.run()
        except MygoEdgeError:
            if options is None and self._team.size == 1:  # a program may come with other data, or go on without
                begun = {task["name"] for task in runner.state["tasks"]}
                self.folder.drop_stream([name for name in unremembered if name not in begun])
                if not begun:  # then the next task says what a dream is
                    self.runner = None
            raise

    def _refuse_unfit(self, runner: Runner, arrivals: Sequence[Arrival]) -> None:
        """Raise MygoEdgeError, before anything of them is kept, for tasks that could not be published once they were
        learnt, and for inputs of another kind than the learner's.
        """
        known = {task.name.casefold(): task.name for task in runner.tasks}
        for arrival in arrivals:
            if (other := known.setdefault(arrival.name.casefold(), arrival.name)) != arrival.name:
                raise MygoEdgeError(f"task {arrival.name} is called as {other} but for capitals; give another name")
            runner.domain.prepare(arrival.train.inputs[:1], self._device)

    def forget(self, task: str) -> None:
        """Let go of a task: its head and generator are removed, a new network learns the other tasks from their dreams,
        and what follows in the bundle, where older versions go too, has nothing of it.

        Raises:
            MygoEdgeError: no such task, or none would be left.
        """
        runner = self._learned(half_forgotten=task)
        with self._listening(), self._recovering(runner):
            forget(runner, task)

    def answers(self, inputs: Any) -> list[tuple[str, str]]:
        """(task, class) of the most likely class of every input, among all tasks."""
        columns = [(task, label) for task, classes in self.tasks.items() for label in classes]
        return [columns[column] for column in self._logits(inputs).argmax(1).tolist()]

    def accuracy(self, inputs: Any, labels: Any, task: str | None = None) -> float:
        """Share of inputs whose class is answered, by name: among all tasks, or among one task's classes."""
        columns = [(name, label) for name, classes in self.tasks.items() for label in classes]
        if task is not None and task not in self.tasks:
            raise MygoEdgeError(f"unknown task {task!r}; the tasks are {', '.join(self.tasks)}")
        kept = [index for index, (name, _) in enumerate(columns) if task in (None, name)]
        found = self._logits(inputs)[:, kept].argmax(1).tolist()
        names = [class_name(label) for label in listed(labels)]
        if unknown := set(names) - {label for _, label in columns}:
            raise MygoEdgeError(
                f"{min(unknown)!r} is the name of no class; they are {', '.join(c for _, c in columns)}"
            )
        if len(names) != len(found) or not names:
            raise MygoEdgeError(f"{len(found)} inputs and {len(names)} labels do not match; give one label each")
        return sum(columns[kept[place]][1] == label for place, label in zip(found, names, strict=True)) / len(names)

    def dream(self, task: str, n: int = 1, *, seed: int = 0) -> Dreams:
        """`n` dreams of a task as `EdgeModel.dream` gives them on a device: uint8 images, or vectors; and class ids."""
        runner, names = self._learned(), list(self.tasks)
        if task not in names or n < 1:
            raise MygoEdgeError(f"no {n} dreams of {task!r}: ask for one or more, of {', '.join(names)}")
        method = self._mygo(runner)
        inputs, ids = method.device_dreams(names.index(task), n, seed=seed)
        values = inputs.cpu().numpy()
        return Dreams(to_pixels(values) if runner.domain.name == "pixels" else values, ids.cpu().numpy())

    def publish(self, bundle: str | Path, precision: str | None = None, **how: Any) -> Path:
        """Publish all that was learnt to a bundle of its own, in a precision, or as the learner does after a sleep.

        `how` is as for `mygo_edge.export.bundle.publish`.
        """
        runner = self._learned()
        if len(runner.tasks) > runner.learnt:
            unfinished = runner.tasks[runner.learnt].name
            raise MygoEdgeError(f"{unfinished} is not finished; learn it again with its data first")
        what = Path(bundle), self._mygo(runner), runner.named_tasks

        def publish(number: int) -> Path:
            named = {"learner_id": self.id, "sequence": number, **how}
            if precision is not None:
                return publish_learner(*what, precision=precision, **named)
            return publish_after_sleep(*what, self.options.publish, **named)[0]

        return runner.publish_apart(publish)

    def runner_for(self, arrivals: Sequence[Arrival]) -> Runner:
        """The loop that learns; `arrivals` say what a dream is, where nothing was learnt yet."""
        if self.runner is None:
            if not arrivals:
                raise MygoEdgeError(f"{self.folder.path} has learnt nothing yet; give it a task")
            domain = self._domain or domain_for(arrivals[0].train, self.options)
            for line in (note_for(domain, self.options), terms_of(domain), *idle_options(domain, self.options)):
                if line:
                    self._tell(line)
            if self._team.leads:
                keep_domain(domain, self.folder.path)
            self.runner = self._new_runner(domain)
        return self.runner

    def _tell(self, line: str) -> None:
        self._display.tell(line)
        self.folder.log(event="note", text=line)

    def _new_runner(self, domain: Any) -> Runner:
        return Runner(
            self.options,
            domain,
            self.folder,
            self._device,
            self._display,
            self._interruption,
            self._publish,
            self._team,
        )

    def _publish(self, method: Method, tasks: Sequence[NamedTask], number: int, keep: bool) -> dict[str, Any]:
        bundle = self.folder.path / "bundle"
        how = {"learner_id": self.id, "sequence": number, "keep_before": keep}
        asked = [self.folder.options_of(name).publish for name, _ in tasks[-2:]]  # a run that goes on may ask anew
        measured = asked[0] == asked[-1]
        version, why = publish_after_sleep(bundle, method, tasks, asked[-1], measured=measured, **how)
        if why:
            self._display.tell(why)
        assert self.runner is not None
        return weigh(version, self.runner.domain.shape)

    def _fitting(self, arrival: Arrival) -> Arrival:
        """The arrival with images of the learner's shape."""
        assert self.runner is not None
        shape = self.runner.domain.shape
        test = arrival.test and brought_to(arrival.test, shape)
        return replace(arrival, train=brought_to(arrival.train, shape), test=test)

    def _read(self, split: Split) -> Split:
        """Files of pictures as their pixels, where no trunk is there to take them."""
        if self.runner is not None:
            domain = self.runner.domain
            return pictures_read(split, domain.shape) if domain.name == "pixels" else split  # type: ignore[arg-type]
        form = self.options.folder
        shape = (1 if form.colour == "grey" else 3, form.size, form.size)
        return pictures_read(split, shape) if self.options.trunk is None else split

    def _logits(self, inputs: Any) -> Tensor:
        runner = self._learned()
        split = self._read(Split(raw_inputs("inputs", inputs), torch.empty(0)))
        split = brought_to(split, runner.domain.shape)
        prepared = runner.domain.prepare(split.inputs, self._device)
        method = self._mygo(runner)
        known = sum(len(classes) for classes in self.tasks.values())  # without a task that is not finished
        with torch.inference_mode():
            return torch.cat([method.logits(part)[:, :known] for part in prepared.split(BATCH)]).cpu()

    def _learned(self, half_forgotten: str | None = None) -> Runner:
        """The runner, of a learner that knows something, and is not in the middle of forgetting another task."""
        if self.runner is None or not self.runner.learnt:
            raise MygoEdgeError(f"{self.folder.path} has learnt nothing yet; call learn first")
        forgetting = self.runner.state["forgetting"]
        if forgetting and forgetting["task"] != half_forgotten:
            raise still_forgetting(self.runner.state, self.folder.path)
        return self.runner

    @contextmanager
    def _recovering(self, runner: Runner) -> Iterator[None]:
        """What is cut off here leaves the learner as its checkpoint has it, to go on or to answer with."""
        try:
            yield
        except BaseException:
            if self._team.size == 1:  # of several processes none goes on
                runner.go_back()
            raise

    def _mygo(self, runner: Runner) -> Method:
        method = runner.methods.get("mygo")
        if method is None:
            raise MygoEdgeError(f"{self.folder.path} did not run the method mygo, the one that remembers and publishes")
        return method

    def _remembered(self) -> set[str | None]:
        return {name for _, names in self.folder.streams() for name in names}

    def _listening(self) -> AbstractContextManager[object]:
        """Ctrl-C ends the work after the step that it is at, where signals can be heard."""
        main = threading.current_thread() is threading.main_thread()
        return self._interruption if main else nullcontext()
