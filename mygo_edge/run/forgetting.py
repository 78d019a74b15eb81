"""What becomes of a run's results when a task is forgotten."""

from typing import Any


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
