"""The loop over tasks and methods: phases in order, each timed, logged and kept; results written as they come."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mygo_edge.data.tasks import Arrival, Task
from mygo_edge.domains.domain import Domain
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.method import Method, NamedPhase
from mygo_edge.learn.phase import Stateful
from mygo_edge.learn.team import ALONE, LostError, Team
from mygo_edge.options import TrainOptions
from mygo_edge.run.checkpoint import Checkpoint
from mygo_edge.run.device import in_bf16
from mygo_edge.run.evaluation import Evaluation, new_results
from mygo_edge.run.folder import RunFolder
from mygo_edge.run.methods import new_method
from mygo_edge.run.outputs import write_outputs, write_summary
from mygo_edge.run.peaks import begin_peaks, new_peaks, note_peaks
from mygo_edge.run.phases import Interruption, RunPhase
from mygo_edge.run.progress import Display, phase_label
from mygo_edge.run.states import flatten, restore

IN_PROGRESS = "phase"  # the checkpoint's slot for a phase that is not finished
_BETWEEN_PICTURES = 60.0  # seconds at least, until the last task

NamedTask = tuple[str, list[str]]  # a task's name and its classes'
# Publishes what a learner knows: the learner, its tasks, the publication's number, and whether the version before may
# stay on disk. Returns the `bytes` of the summary.
Publisher = Callable[[Method, Sequence[NamedTask], int, bool], dict[str, Any]]


class Runner:
    """A learner on disk beside the methods that it is compared with. Everything that must outlive a kill is in `state`
    and in the methods' modules.

    Args:
        options: of the run as it began.
        publish: see `Publisher`.
    """

    def __init__(
        self,
        options: TrainOptions,
        domain: Domain,
        folder: RunFolder,
        device: torch.device,
        display: Display,
        interruption: Interruption,
        publish: Publisher,
        team: Team = ALONE,
    ) -> None:
        self.team = team  # its leader alone evaluates, publishes and writes
        self.options, self.domain, self.folder, self.device = options, domain, folder, device
        self.display, self.interruption, self._publisher = display, interruption, publish
        self.evaluation = Evaluation(self)
        self._phase_started = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        """Know nothing yet."""
        options, domain, folder = self.options, self.domain, self.folder
        self.tasks: list[Task] = []
        self._drawn = time.monotonic()  # when pictures were drawn last
        self.methods = {name: new_method(name, domain, options, self.device) for name in options.methods}
        self.checkpoint = Checkpoint(folder.path / "checkpoint", writes=self.team.leads)
        self.state: dict[str, Any] = {
            "run": folder.run_id,
            "domain": domain.name,
            "shape": list(domain.shape),
            "tasks": [],  # name, classes and fingerprint of each, in the order of arrival
            "position": [0, 0, 0],  # task, method, phase: the next to do
            "within": None,  # step, attempt and seconds of a phase that is not finished
            "forgetting": None,  # task, method and phase of what is being forgotten
            "publications": 0,
            "trunk": {"inputs": 0, "seconds": 0.0},  # passes through it, training and test
            "results": {name: new_results() for name in options.methods},
        }

    @property
    def learnt(self) -> int:
        """How many tasks are learnt by all methods."""
        return int(self.state["position"][0])

    @property
    def named_tasks(self) -> list[NamedTask]:
        return [(task.name, task.classes) for task in self.tasks]

    def resume(self) -> None:
        """Take up the folder's checkpoint, if it got that far. Raises MygoEdgeError when damaged or another run's."""
        if not self.checkpoint.exists():
            self.folder.cut_log(0)
            return
        state = self.checkpoint.open(self.folder.run_id)
        file = self.checkpoint.folder / "state.json"
        try:
            self.folder.cut_log(int(state.pop("log_size")))
            self.state = state
            for name, method in self.methods.items():
                if (tensors := self.checkpoint.get(name)) is not None:
                    method.load({key: value.to(self.device) for key, value in tensors.items()})
                    method.sleeps = state["results"][name].get("sleep", [])
                    method.memories = state["results"][name].get("memory", [])
            _, number, _ = (int(place) for place in state["position"])
            if number < len(self.methods) and not list(self.methods.values())[number].keeps:
                state["position"][2] = 0
            self.tasks = [Task(task["name"], task["classes"], None, None, self._prepare) for task in state["tasks"]]
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise MygoEdgeError(f"{file} does not fit this run ({error}); start it again in another --out") from error

    def go_back(self) -> None:
        """To what the checkpoint has, after work was cut off that this object is in the middle of."""
        known = {task.name: task for task in self.tasks}
        self._begin()
        self.resume()
        self.tasks = [known.get(task.name, task) for task in self.tasks]  # with their data

    def add(self, arrivals: Sequence[Arrival]) -> None:
        """Take tasks up, new ones and the data of those that are known.

        Raises:
            MygoEdgeError: a known task of which a part is learnt comes with other data than it began with.
        """
        names = [task.name for task in self.tasks]
        for arrival in arrivals:
            task = Task(arrival.name, arrival.classes, arrival.train, arrival.test, self._prepare)
            if arrival.name not in names:
                self.tasks.append(task)
                entry = {"name": arrival.name, "classes": arrival.classes, "fingerprint": arrival.fingerprint()}
                self.state["tasks"].append(entry)
                continue
            index = names.index(arrival.name)
            entry = self.state["tasks"][index]
            if (entry["classes"], entry["fingerprint"]) == (arrival.classes, arrival.fingerprint()):
                self.tasks[index] = task
            elif index < self.learnt:
                self.display.tell(f"{arrival.name}: the data is not what was learnt; not measured again")
            elif not self._begun(index):
                self.tasks[index] = task
                entry |= {"classes": arrival.classes, "fingerprint": arrival.fingerprint()}
            else:
                raise MygoEdgeError(
                    f"the inputs, labels or classes of {arrival.name} are not the ones that "
                    f"{self.checkpoint.folder}/state.json was learnt from; restore them"
                )

    def _begun(self, index: int) -> bool:
        """Whether a phase of a task, or a part of one, is done."""
        learnt, *within = self.state["position"]
        return index == learnt and (within != [0, 0] or self.state["within"] is not None)

    def restart_phase(self) -> None:
        """Let go of the phase in progress, because its options changed."""
        self.state["within"] = None
        self.checkpoint.drop(IN_PROGRESS)

    def run(self) -> None:
        """Learn all that is left."""
        for index in range(self.learnt, len(self.tasks)):
            self._learn(index)
        if self.team.leads:
            write_summary(self)
            self.display.contrast([task.name for task in self.tasks], self.state["results"])

    def _learn(self, index: int) -> None:
        options = self.folder.options_of(self.tasks[index].name)
        if self.domain.name != "pixels" and self.state["position"] == [index, 0, 0]:
            self.tasks[index].prepare_training()  # before a method asks, so that the trunk counts to none
        for number, method in enumerate(self.methods.values()):
            method.options = options
            todo = self._phases(method, index)
            for place, named in enumerate(todo):
                if (index, number, place) >= tuple(self.state["position"]):
                    self.do(method, index, named, {"position": [index, number, place + 1]})
            if (index, number, len(todo)) >= tuple(self.state["position"]):
                if self.team.leads:
                    self.evaluation.evaluate(method, index)
                self.state["position"] = [index, number + 1, 0]
                self.commit()
        self.state["position"] = [index + 1, 0, 0]
        self.finish_task(index + 1)
        if not any(method.looks_back for method in self.methods.values()):
            self.tasks[index].drop_training()

    def _phases(self, method: Method, index: int) -> list[NamedPhase]:
        visible = self.tasks[: index + 1] if method.looks_back else [self.tasks[index]]
        phases = method.phases(index, visible)
        if method.publishes:
            phases.append(NamedPhase("publish", "export", lambda _: self.publish(method, index + 1)))
        return phases

    def do(self, method: Method, index: int, named: NamedPhase, after: dict[str, Any]) -> None:
        """Work on a phase to its end; then the state is updated with `after`, and kept."""
        within = self.state["within"] or {"step": 0, "attempt": 0, "seconds": 0.0}
        self._phase_started = started = time.monotonic() - within["seconds"]
        phase = self._phase(method.name, index, named.name, within)
        self.display.begin(phase.label, None)
        begin_peaks(self.device)
        try:
            named.work(phase)
        except LostError:
            raise
        except MygoEdgeError as error:
            raise MygoEdgeError(f"{error}. {self._so_far(index)}") from error
        self.display.end()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - started
        results = self.state["results"][method.name]
        results["seconds"][named.account] += seconds
        results["seconds"]["total"] += seconds
        note_peaks(results.setdefault("peak_bytes", new_peaks()), named.account, self.device)
        results["sleep"] = method.sleeps
        results["memory"] = method.memories
        if method.bytes is not None:
            results["bytes"]["kept"] = method.bytes
        where = {"task": index, "method": method.name, "phase": named.name}
        self.folder.log(event="phase", **where, seconds=seconds)
        self.display.event(event="phase", **where, seconds=f"{seconds:.2f}")
        self.checkpoint.put(method.name, method.state())
        self.checkpoint.drop(IN_PROGRESS)
        self.state.update(after, within=None)
        self.commit()
        if self.team.leads:
            self.interruption.stop_if_asked()

    def _so_far(self, index: int) -> str:
        """What a failure in task `index` leaves."""
        names = [task.name for task in self.tasks[: self.learnt]]
        done = (
            f"{', '.join(names)}: learnt and published in {self.folder.path}/bundle" if names else "Nothing is learnt"
        )
        if self.folder.options_of(self.tasks[index].name).dataset == "arrays":
            return f"{done}; learn {self.tasks[index].name} again with other data or options"
        again = f"--resume {self.folder.path}"
        if self.domain.name == "features":  # nothing there learns by steps
            return f"{done}; learn {self.tasks[index].name} with {again} and other options"
        return f"{done}; learn {self.tasks[index].name} with other options, such as {again} --memory.epochs 8"

    def _phase(self, method: str, index: int, name: str, within: dict[str, Any]) -> RunPhase:
        def save(step: int, parts: Mapping[str, Stateful]) -> None:
            seconds = time.monotonic() - self._phase_started
            self.checkpoint.put(IN_PROGRESS, flatten(parts))
            self.state["within"] = {"step": step, "attempt": phase.attempt, "seconds": seconds}
            self.commit()

        def restore_once(parts: Mapping[str, Stateful]) -> int:
            step, within["step"] = within["step"], 0
            if step:
                tensors = self.checkpoint.get(IN_PROGRESS) or {}
                try:
                    restore(parts, tensors)
                except (LookupError, ValueError, RuntimeError) as error:
                    file = self.checkpoint.folder
                    raise MygoEdgeError(f"{file}: the phase in progress does not fit ({error}); start again") from error
            return step

        phase = RunPhase(
            self.device,
            self.options.seed,
            label=phase_label(self.tasks[index].name, index, len(self.tasks), method, name),
            display=self.display,
            folder=self.folder,
            interruption=self.interruption,
            where={"task": index, "method": method, "phase": name},
            save=save,
            restore=restore_once,
            every=self.options.checkpoint_seconds,
            team=self.team,
            step_mode=self.options.step,
            autocast=in_bf16(self.options, self.device, method, name),
        )
        phase.attempt = within["attempt"]
        return phase

    def publish(self, method: Method, tasks: int, keep: bool = True) -> None:
        """Publish the first `tasks` tasks to the folder's bundle; `keep` says whether the version before may stay."""
        if not self.team.leads:
            return
        number = self.state["publications"] + 1
        # Counted with the next commit: a kill before it publishes the same under the same number again.
        found = self._publisher(method, self.named_tasks[:tasks], number, keep)
        self.state["publications"] = number
        self.state["results"][method.name]["bytes"] = found

    def tell(self, line: str) -> None:
        """Tell the person in front of the run, and the log."""
        self.display.tell(line)
        self.folder.log(event="note", text=line)

    def publish_apart(self, publish: Callable[[int], Path]) -> Path:
        """Publish somewhere else, under the next number of this learner. Returns the version's folder."""
        number = self.state["publications"] + 1
        version = publish(number)
        self.state["publications"] = number
        self.commit()
        return version

    def finish_task(self, tasks: int) -> None:
        """Write all that a run shows of its first `tasks` tasks; pictures of a quick run after the last alone."""
        if self.team.leads and (tasks == len(self.tasks) or time.monotonic() > self._drawn + _BETWEEN_PICTURES):
            write_outputs(self, tasks)
            self._drawn = time.monotonic()
        elif self.team.leads:
            write_summary(self)
        self.commit()
        if self.team.leads:
            self.display.results([task.name for task in self.tasks], self.state["results"])

    def commit(self) -> None:
        """Keep everything: a kill from here on loses nothing."""
        self.checkpoint.commit({**self.state, "log_size": self.folder.log_size()})

    def _prepare(self, inputs: Any) -> torch.Tensor:
        """Inputs as the domain takes them; with a trunk this is nearly all the work there is."""
        started = time.monotonic()
        self.display.begin(f"preparing {len(inputs)} inputs", len(inputs))

        def progress(done: int, total: int) -> None:
            self.display.update(done, done / max(time.monotonic() - started, 1e-9), {})
            if self.team.leads:
                self.interruption.stop_if_asked()

        prepared = self.domain.prepare(inputs, self.device, progress)
        self.display.end()
        seconds = time.monotonic() - started
        if self.domain.name != "pixels":
            spent = self.state["trunk"]
            spent["inputs"] += len(inputs)
            spent["seconds"] += seconds
            self.folder.log(event="trunk", inputs=len(inputs), seconds=seconds)
            self.display.event(event="trunk", inputs=len(inputs), seconds=f"{seconds:.2f}")
        return prepared
