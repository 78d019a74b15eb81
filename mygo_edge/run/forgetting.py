"""A task is forgotten on demand: every method lets go of it, what stays is consolidated, measured and published."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mygo_edge.errors import MygoEdgeError

if TYPE_CHECKING:
    from mygo_edge.run.runner import Runner


def forget(runner: "Runner", name: str) -> None:
    """Let every method of a run forget a task, or go on with that where a kill cut it off.

    Raises:
        MygoEdgeError: no such task, none would be left, or another one is still being learnt or forgotten.
    """
    names, state = [task.name for task in runner.tasks], runner.state
    if state["forgetting"] and state["forgetting"]["task"] != name:
        raise still_forgetting(state, runner.folder.path)
    if name not in names or len(names) < 2:
        known = ", ".join(names)
        raise MygoEdgeError(f"task {name} cannot be forgotten: the tasks are {known}, and one must stay")
    if runner.learnt < len(names):
        name, again = names[runner.learnt], f"--resume {runner.folder.path}"
        raise MygoEdgeError(f"{name} is still being learnt; finish it by {again}, or in a program by learning it again")
    index = names.index(name)
    stay = [task for task in runner.tasks if task.name != name]
    state["forgetting"] = state["forgetting"] or {"task": name, "method": 0, "phase": 0}
    next_ = state["forgetting"]["method"], state["forgetting"]["phase"]
    runner.commit()
    for number, method in enumerate(runner.methods.values()):
        for step, named in enumerate(method.forgetting(index, stay)):
            if (number, step) >= next_ or not method.keeps:
                done = max(next_, (number, step + 1))
                after = {"forgetting": {"task": name, "method": done[0], "phase": done[1]}}
                runner.do(method, index, named, after)
    runner.folder.drop_task(name)
    del runner.tasks[index], state["tasks"][index]
    state.update(forgetting=None, position=[len(runner.tasks), 0, 0])
    for method in runner.methods.values():
        forget_results(state["results"][method.name], index)
        method.sleeps = state["results"][method.name]["sleep"]
        method.memories = state["results"][method.name]["memory"]
        if runner.team.leads:
            runner.evaluation.evaluate(method, len(runner.tasks) - 1)
        if method.publishes:
            runner.publish(method, len(runner.tasks), keep=False)
    runner.finish_task(len(runner.tasks))


def still_forgetting(state: dict[str, Any], path: Path) -> MygoEdgeError:
    """What to say of a run whose task is half forgotten, where that must be finished first."""
    name = state["forgetting"]["task"]
    return MygoEdgeError(f"{path} was stopped while it forgot {name}; finish that first with --forget {name} {path}")


def forget_results(results: dict[str, Any], index: int) -> None:
    """Take task `index` out of a method's part of summary.json, in place: its row and column of both matrices, its
    dreams, its memory and its sleep. The last row, of the network before, goes too, to be measured anew.
    """
    for key in ("task_known", "task_unknown"):
        rows = results[key].get("matrix", [])
        kept = [row[:index] + row[index + 1 :] for place, row in enumerate(rows) if place != index]
        results[key] = {"matrix": kept[: max(0, len(rows) - 2)]}
    fidelities = results["dreams"]["label_fidelity_by_task"]
    results["dreams"]["label_fidelity_by_task"] = fidelities[:index] + fidelities[index + 1 :]
    for key in ("memory", "sleep"):
        results[key] = [
            {**entry, "task": entry["task"] - (entry["task"] > index)}
            for entry in results.get(key, [])
            if entry["task"] != index
        ]
