"""The loop over tasks and methods: phases in order, each timed, logged and kept; results written as they come."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from mygo_edge.data.tasks import Task
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import write_json
from mygo_edge.learn.methods import Finetune, Frozen, Joint, Method, MyGO, NamedPhase
from mygo_edge.learn.phase import Phase, Stateful
from mygo_edge.learn.reference import Reference
from mygo_edge.learn.team import ALONE, Team
from mygo_edge.measure.accuracy import accuracies, scores
from mygo_edge.measure.dreams import classification_accuracy_score, label_fidelity, train_judge
from mygo_edge.measure.plots import plot_accuracies, plot_dreams
from mygo_edge.model.network import NeocortexNet
from mygo_edge.options import TrainOptions
from mygo_edge.run.checkpoint import Checkpoint
from mygo_edge.run.folder import RunFolder
from mygo_edge.run.phases import Interruption, RunPhase
from mygo_edge.run.progress import Display
from mygo_edge.run.publish import publish_learner, weigh
from mygo_edge.run.states import flatten, restore

METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (MyGO, Finetune, Frozen, Joint, Reference)}
IN_PROGRESS = "phase"  # the checkpoint's slot for a phase that is not finished


class Runner:
    """One run, new or resumed. Everything that must outlive a kill is in `state` and in the methods' modules."""

    def __init__(
        self,
        options: TrainOptions,
        tasks: list[Task],
        folder: RunFolder,
        fingerprint: str,
        device: torch.device,
        display: Display,
        interruption: Interruption,
        team: Team = ALONE,
    ) -> None:
        self.team = team  # its leader alone evaluates, publishes and writes
        self.options, self.tasks, self.folder, self.device = options, tasks, folder, device
        self.display, self.interruption = display, interruption
        self.shape: tuple[int, int, int] = tuple(tasks[0].train.images.shape[1:])  # type: ignore[assignment]
        self.methods = {name: METHODS[name](self.shape, options, device) for name in options.methods}
        self.checkpoint = Checkpoint(folder.path / "checkpoint", writes=team.leads)
        self.state: dict[str, Any] = {
            "run": folder.run_id,
            "data": fingerprint,
            "shape": list(self.shape),
            "tasks": [{"name": task.name, "classes": task.classes} for task in tasks],
            "position": [0, 0, 0],  # task, method, phase: the next to do
            "within": None,  # step, attempt and seconds of a phase that is not finished
            "results": {name: new_results() for name in options.methods},
        }
        self._judge: NeocortexNet | None = None
        self._phase_started = time.monotonic()

    def resume(self) -> None:
        """Take up the folder's checkpoint, if it got that far. Raises MygoEdgeError when damaged or another run's."""
        if not self.checkpoint.exists():
            self.folder.cut_log(0)
            return
        state = self.checkpoint.open(self.folder.run_id)
        file = self.checkpoint.folder / "state.json"
        if state.get("data") != self.state["data"]:
            raise MygoEdgeError(
                f"the images, labels or classes are not the ones that {file} was learnt from; restore them"
            )
        try:
            self.folder.cut_log(int(state.pop("log_size")))
            self.state = state
            for name, method in self.methods.items():
                if (tensors := self.checkpoint.get(name)) is not None:
                    method.load({key: value.to(self.device) for key, value in tensors.items()})
                    method.sleeps = state["results"][name].get("sleep", [])
                    if isinstance(method, MyGO):
                        method.memories = state["results"][name].get("memory", [])
            [int(number) for number in state["position"]]
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise MygoEdgeError(f"{file} does not fit this run ({error}); start it again in another --out") from error

    def run(self) -> None:
        """Do all that is left."""
        for index in range(len(self.tasks)):
            for number, method in enumerate(self.methods.values()):
                todo = self._phases(method, index)
                for place, named in enumerate(todo):
                    if (index, number, place) >= tuple(self.state["position"]):
                        self._do(method, index, number, place, named)
                if (index, number, len(todo)) >= tuple(self.state["position"]):
                    if self.team.leads:
                        self._evaluate(method, index)
                    self.state["position"] = [index, number + 1, 0]
                    self._commit()
            if (index + 1, 0, 0) > tuple(self.state["position"]):
                self._finish_task(index)
        if not self.team.leads:
            return
        self.write_summary()
        self.display.contrast([task.name for task in self.tasks], self.state["results"])

    def _phases(self, method: Method, index: int) -> list[NamedPhase]:
        visible = self.tasks[: index + 1] if method.looks_back else [self.tasks[index]]
        phases = method.phases(index, visible)
        if isinstance(method, MyGO):
            phases.append(NamedPhase("publish", "export", lambda _: self._publish(method, index)))
        return phases

    def _do(self, method: Method, index: int, number: int, place: int, named: NamedPhase) -> None:
        within = self.state["within"] or {"step": 0, "attempt": 0, "seconds": 0.0}
        self._phase_started = started = time.monotonic() - within["seconds"]
        phase = self._phase(method.name, index, named.name, within)
        self.display.begin(phase.label, None)
        named.work(phase)
        self.display.end()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - started
        results = self.state["results"][method.name]
        results["seconds"][named.account] += seconds
        results["seconds"]["total"] += seconds
        results["sleep"] = method.sleeps
        if isinstance(method, MyGO):
            results["memory"] = method.memories
        where = {"task": index, "method": method.name, "phase": named.name}
        self.folder.log(event="phase", **where, seconds=seconds)
        self.display.event(event="phase", **where, seconds=f"{seconds:.2f}")
        self.checkpoint.put(method.name, method.state())
        self.checkpoint.drop(IN_PROGRESS)
        self.state.update(position=[index, number, place + 1], within=None)
        self._commit()
        if self.team.leads:
            self.interruption.stop_if_asked()

    def _phase(self, method: str, index: int, name: str, within: dict[str, Any]) -> RunPhase:
        def save(step: int, parts: Mapping[str, Stateful]) -> None:
            seconds = time.monotonic() - self._phase_started
            self.checkpoint.put(IN_PROGRESS, flatten(parts))
            self.state["within"] = {"step": step, "attempt": phase.attempt, "seconds": seconds}
            self._commit()

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
            label=f"task {index + 1}/{len(self.tasks)} {method} {name}",
            display=self.display,
            folder=self.folder,
            interruption=self.interruption,
            where={"task": index, "method": method, "phase": name},
            save=save,
            restore=restore_once,
            every=self.options.checkpoint_seconds,
            # The published GAN's binary cross-entropy has no half-precision form.
            team=self.team,
            step_mode=self.options.step,
            autocast=self.options.precision == "bf16" and self.device.type == "cuda" and method != "reference",
        )
        phase.attempt = within["attempt"]
        return phase

    def _evaluation(self, label: str) -> Phase:
        return RunPhase(
            self.device,
            self.options.seed,
            label=label,
            display=self.display,
            folder=self.folder,
            interruption=self.interruption,
            where={"phase": label},
        )

    def _publish(self, method: MyGO, index: int) -> None:
        if not self.team.leads:
            return
        named = [(task.name, task.classes) for task in self.tasks[: index + 1]]
        version = publish_learner(self.folder.path / "bundle", method, named, sequence=index + 1)
        self.state["results"][method.name]["bytes"] = weigh(version, named, self.shape)

    def _evaluate(self, method: Method, index: int) -> None:
        results = self.state["results"][method.name]
        known, unknown = accuracies(method.logits, self.tasks[: index + 1])
        for key, row in (("task_known", known), ("task_unknown", unknown)):
            results[key] = scores([*results[key].get("matrix", [])[:index], row])
        if method.dreams and self.options.measure.dreams:
            self._measure_dreams(method, index, results["dreams"])
        self.folder.log(event="accuracy", task=index, method=method.name, task_known=known, task_unknown=unknown)

    def _measure_dreams(self, method: Method, index: int, results: dict[str, Any]) -> None:
        if self._judge is None:
            self._judge = train_judge(self.tasks, self._evaluation("evaluation: judge of dreams"))
        fidelity = label_fidelity(method, index, self._judge, self.options.measure.dreams_per_class)
        by_task = [*results["label_fidelity_by_task"][:index], fidelity]
        results.update(label_fidelity_by_task=by_task, label_fidelity=sum(by_task) / len(by_task))
        if index + 1 == len(self.tasks):
            phase = self._evaluation(f"evaluation: {method.name}'s classification accuracy score")
            results["classification_accuracy_score"] = classification_accuracy_score(
                method, self.tasks, self.options.measure, phase
            )

    def _finish_task(self, index: int) -> None:
        names = [task.name for task in self.tasks]
        if self.team.leads:
            self.write_summary()
            plot_accuracies(self.folder.path / "plots", names, self.state["results"])
            for method in self.methods.values():
                if method.dreams and (method.name == "mygo" or "mygo" not in self.methods):
                    plot_dreams(self.folder.path / "plots", names[: index + 1], method)
        self.state["position"] = [index + 1, 0, 0]
        self._commit()
        if self.team.leads:
            self.display.results(names, self.state["results"])

    def _commit(self) -> None:
        self.checkpoint.commit({**self.state, "log_size": self.folder.log_size()})

    def write_summary(self) -> None:
        """summary.json, anew."""
        document: dict[str, Any] = {
            "dataset": self.options.dataset,
            "seed": self.options.seed,
            "preset": self.options.preset,
        }
        document |= {"tasks": self.state["tasks"], "methods": self.state["results"]}
        write_json(self.folder.path / "summary.json", document)


def new_results() -> dict[str, Any]:
    """A method's part of summary.json before its first task."""
    return {
        "task_known": {},
        "task_unknown": {},
        "dreams": {"label_fidelity": None, "label_fidelity_by_task": [], "classification_accuracy_score": None},
        "sleep": [],
        "bytes": {"classifier": None, "generators": [], "equivalent_images": None},
        "seconds": {"wake": 0.0, "memory": 0.0, "sleep": 0.0, "export": 0.0, "total": 0.0},
    }
