"""The model card of a run: what it learnt, how well, and where it is weak, in plain words made from its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mygo_edge.measure.accuracy import per_class

_WEAK_FIDELITY = 0.9  # below, a task's dreams are worth a warning
_PAIRS = 3
_SOURCES = {"folder": "a folder of pictures", "text": "a user's texts", "arrays": "what a program gave"}


class Card(NamedTuple):
    """Sentences, each of which stands alone. classes: accuracy by class with the task unknown, where it was counted."""

    learnt: list[str]
    weak: list[str]
    classes: list[float | None]


def class_names(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every class as the report calls it: by its name, with its task where two tasks have a class of one name."""
    plain = [str(label) for task in tasks for label in task["classes"]]
    full = [f"{task['name']}: {label}" for task in tasks for label in task["classes"]]
    return [long if plain.count(short) > 1 else short for short, long in zip(plain, full, strict=True)]


def card(dataset: str, tasks: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> Card:
    """The card of one method.

    Args:
        dataset: its name.
        tasks: those learnt, with `name` and `classes`.
        results: the method's part of a summary.
    """
    known, unknown = results["task_known"], results["task_unknown"]
    names = class_names(tasks)
    counts = results.get("confusion")
    learnt = [
        f"Learnt from {_SOURCES.get(dataset, dataset)}: {len(tasks)} tasks one after another, {len(names)} classes: "
        f"{_listed(names)}.",
    ]
    if known["average"] is None:
        learnt.append("How often it is right was not measured: there were no test inputs.")
    else:
        learnt.append(
            f"On test inputs it never learnt from, {_percent(known['average'])} of the answers are right when the task "
            f"is given, and {_percent(unknown['average'])} when it must find the class among all {len(names)}."
        )
    if counts and known["average"] is not None:
        learnt.append(f"Measured on {sum(map(sum, counts)):,} test inputs.")
    on_trunk = "trunk" in (results.get("bytes") or {})
    weak = [*_weak_classes(names, counts), *_weak_tasks(tasks, unknown)]
    weak += _weak_dreams(tasks, results["dreams"], on_trunk)
    weak += _poor_memories(tasks, results.get("memory") or [])
    weak += [
        "Unless a device is asked to reject what it does not know, it answers with one of its classes whatever it is "
        "shown.",
        "Inputs unlike those of the data set, from another camera, pen, light or author, were not measured.",
    ]
    if on_trunk:
        weak.append("Class means tell something about the inputs behind them: treat them as you treat the data.")
    elif results["dreams"]["label_fidelity_by_task"]:
        weak.append("Its generators may have memorised training images: treat them as you treat the data.")
    return Card(learnt, weak, per_class(counts) if counts else [])


def _weak_classes(names: Sequence[str], counts: Sequence[Sequence[int]] | None) -> list[str]:
    if not counts:
        return []
    found = [(value, names[index]) for index, value in enumerate(per_class(counts)) if value is not None]
    if not found:
        return []
    worst, name = min(found)
    sentences = [f"Its weakest class is {name}: {_percent(worst)} of its test inputs are recognised among all classes."]
    pairs = sorted(
        ((count, true, said) for true, row in enumerate(counts) for said, count in enumerate(row) if true != said),
        reverse=True,
    )[:_PAIRS]
    wrong = [
        f"{names[true]} for {names[said]} ({count} of {sum(counts[true])})" for count, true, said in pairs if count
    ]
    if wrong:
        sentences.append(f"It most often takes {_listed(wrong)}, in test inputs.")
    return sentences


def _weak_tasks(tasks: Sequence[Mapping[str, Any]], unknown: Mapping[str, Any]) -> list[str]:
    matrix = unknown["matrix"]
    lost = [
        (then - now, index)
        for index in range(len(matrix) - 1)
        if (then := matrix[index][index]) is not None and (now := matrix[-1][index]) is not None
    ]
    if not lost or max(lost)[0] <= 0:
        return []
    most, index = max(lost)
    return [
        f"Learning later tasks cost {tasks[index]['name']} the most: {100 * most:.1f} points of its accuracy among all "
        "classes."
    ]


def _poor_memories(tasks: Sequence[Mapping[str, Any]], memories: Sequence[Mapping[str, Any]]) -> list[str]:
    poor = [tasks[entry["task"]]["name"] for entry in memories if entry["poor"] and entry["task"] < len(tasks)]
    return [f"The memory of {_listed(poor)} is poor: its classes are hardly told apart."] if poor else []


def _weak_dreams(tasks: Sequence[Mapping[str, Any]], dreams: Mapping[str, Any], on_trunk: bool) -> list[str]:
    weak = [
        f"{task['name']} ({_percent(value)})"
        for task, value in zip(tasks, dreams["label_fidelity_by_task"], strict=False)
        if value is not None and value < _WEAK_FIDELITY
    ]
    if not weak:
        return []
    what = "its classes overlap" if on_trunk else "later sleeps teach it badly"
    return [f"Dreams of {_listed(weak)} often do not show the class that was asked for, so {what}."]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
