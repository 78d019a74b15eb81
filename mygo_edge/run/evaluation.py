"""What a run measures after every task. Evaluation only: nothing of it feeds the learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.learn.method import Method
from mygo_edge.learn.phase import Phase
from mygo_edge.measure.accuracy import accuracies, answers_on_tests, confusion, mean, per_class, scores
from mygo_edge.measure.dreams import classification_accuracy_score, label_fidelity, train_judge
from mygo_edge.measure.feature_dreams import feature_dreams
from mygo_edge.model.network import NeocortexNet
from mygo_edge.run.peaks import new_peaks
from mygo_edge.run.phases import RunPhase

if TYPE_CHECKING:
    from mygo_edge.run.runner import Runner


FAITHFUL = 0.75  # label fidelity of a task's dreams, below which a run says so


class Evaluation:
    """Accuracies of a method and the worth of its dreams, written into the run's results."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._judge: NeocortexNet | None = None  # of as many tasks as it has heads

    def evaluate(self, method: Method, index: int) -> None:
        """After task `index` was learnt."""
        run = self._runner
        results = run.state["results"][method.name]
        phase = self._phase(f"evaluation: {method.name}")
        tasks = run.tasks[: index + 1]
        answers = answers_on_tests(method.logits, tasks, phase.breathe)
        known, unknown = accuracies(answers, tasks)
        for key, row in (("task_known", known), ("task_unknown", unknown)):
            results[key] = scores([*results[key].get("matrix", [])[:index], row])
        counts = confusion(answers, tasks)
        results.update(confusion=counts, per_class=per_class(counts))
        if method.dreams and run.options.measure.dreams:
            self._measure_dreams(method, index, results["dreams"])
        run.folder.log(event="accuracy", task=index, method=method.name, task_known=known, task_unknown=unknown)

    def _measure_dreams(self, method: Any, index: int, results: dict[str, Any]) -> None:
        run = self._runner
        if isinstance(method, ExactMyGO):
            if all(task.tested for task in run.tasks[: index + 1]):
                last = index + 1 == len(run.tasks)
                results.update(feature_dreams(method, run.tasks[: index + 1], run.options.measure, score=last))
            return
        if not all(task.tested for task in run.tasks):  # the judge would not know them
            run.tell("dreams are not measured: that takes the data of all tasks")
            fidelity = None
        else:
            judge = self._judge_of_all()
            per_class = run.options.measure.dreams_per_class
            fidelity = label_fidelity(method, index, judge, per_class, self._phase("evaluation: label fidelity"))
        by_task = [*results["label_fidelity_by_task"][:index], fidelity]
        if fidelity is not None and fidelity < FAITHFUL:
            name = run.tasks[index].name
            run.tell(f"{name}: only {fidelity:.0%} of its dreams show the class that was asked for (label fidelity)")
        found = [value for value in by_task if value is not None]
        results.update(label_fidelity_by_task=by_task, label_fidelity=mean(found) if found else None)
        if index + 1 == len(run.tasks) and fidelity is not None:
            phase = self._phase(f"evaluation: {method.name}'s classification accuracy score")
            results["classification_accuracy_score"] = classification_accuracy_score(
                method, run.tasks, run.options.measure, phase
            )

    def _judge_of_all(self) -> NeocortexNet:
        run = self._runner
        if self._judge is None or len(self._judge.widths) != len(run.tasks):
            domain: Any = run.domain  # of pixels, where judges are networks
            self._judge = train_judge(run.tasks, domain, self._phase("evaluation: judge of dreams"))
        return self._judge

    def _phase(self, label: str) -> Phase:
        run = self._runner
        return RunPhase(
            run.device,
            run.options.seed,
            label=label,
            display=run.display,
            folder=run.folder,
            interruption=run.interruption,
            where={"phase": label},
        )


def new_results() -> dict[str, Any]:
    """A method's part of summary.json before its first task."""
    return {
        "task_known": {},
        "task_unknown": {},
        "dreams": {"label_fidelity": None, "label_fidelity_by_task": [], "classification_accuracy_score": None},
        "memory": [],
        "sleep": [],
        "bytes": {"classifier": None, "generators": [], "equivalent_images": None},
        "seconds": {"wake": 0.0, "memory": 0.0, "sleep": 0.0, "export": 0.0, "total": 0.0},
        "peak_bytes": new_peaks(),
    }
