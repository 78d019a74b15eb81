"""Make docs/photos.md and its picture from the committed results: python bench/photos_page.py"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "photos"
COST = ROOT / "bench" / "results" / "feature_cost.json"
STUDENTS = ROOT / "bench" / "results" / "photo_students.json"
UPDATES = ROOT / "bench" / "results" / "photo_updates.json"
CHOICES = ROOT / "bench" / "results" / "photo_choices.json"
PICTURE = ROOT / "docs" / "images" / "photos-over-tasks.png"
RIVALS = ("joint", "ranpac", "fecam", "slda", "ncm", "finetune")
KEYS = ("known", "unknown", "balanced")  # accuracies of larger photos
POWERS = ("0.5", "1.0")
FEW = 20  # training photos a class, below which a set stands in a table of its own
Result = dict[str, Any]


def main() -> None:
    results, *others = read()
    (ROOT / "docs" / "photos.md").write_text(page(results, *others))
    picture([result for result in results if not is_few(result) and not result.get("resplit")])


def read() -> tuple[list[Result], Result, Result, Result, Result]:
    """The committed results, in the order of their names; the students; the cost at many tasks; updates; sizes and
    powers.
    """
    sets = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    return sets, *(json.loads(file.read_text()) for file in (STUDENTS, COST, UPDATES, CHOICES))


def page(results: list[Result], students: Result, cost: Result, updates: Result, choices: Result) -> str:
    """docs/photos.md of the measurements."""
    larger = [result for result in results if result.get("resplit")]
    few = [result for result in results if is_few(result) and result not in larger]
    results = [result for result in results if result not in [*few, *larger]]
    both = [*results, *larger]
    first = results[0]
    parts = {
        "command": "\n".join(result["command"] for result in [*results, *few, *larger]),
        "students_command": students["command"],
        "trunk": first["trunk"],
        "features": f"{first['features']:,}",
        "trunk_megabytes": f"{first['trunk_bytes'] / 1e6:.1f}",
        "orders": str(len(first["orders"])),
        "accuracy": accuracy_table(results),
        "targets": targets(results),
        "few": accuracy_table(few, ("joint", "ranpac", "fecam", "slda", "ncm")),
        "larger": accuracy_table(larger, keys=KEYS),
        "larger_sets": " ".join(described(result) for result in larger),
        "larger_targets": larger_targets(larger),
        "even_prior": even_prior(larger),
        "sets": " ".join(described(result) for result in results),
        "bytes": bytes_table(both),
        "replaced": replaced(both),
        "cost": cost_table(both),
        "cost_command": cost["command"],
        "many": many_table(cost),
        "least_small": f"{min(shares(cost, '160')):.0f}",
        "most_small": f"{max(shares(cost, '160')):.0f}",
        "least_large": f"{min(shares(cost, '224')):.0f}",
        "most_large": f"{max(shares(cost, '224')):.0f}",
        "updates": updates_table(updates),
        "updates_command": updates["command"],
        "updates_about": updates_about(updates),
        "shrinkage": shrinkage_table(both),
        "alarms": alarms_table(both),
        "certainty": certainty_table(both),
        "shots": shots_table(both),
        "rejection": rejection_table(both),
        "choices": choices_table(choices),
        "choices_command": choices["command"],
        "students": students_table(students),
        "gans": gans(students),
        "students_about": f"{students['train']:,} training photos ({students['set']}); on dreams, {students['steps']} "
        f"steps of {students['batch']}",
    }
    template = (ROOT / "docs" / "photos.template.md").read_text()
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def is_few(result: Result) -> bool:
    return bool(result["train"] < FEW * result["classes"])


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean(result: Result, of: Callable[[Result], float]) -> float:
    """Of a figure over the orders of the classes."""
    return float(np.mean([of(order) for order in result["orders"]]))


def percents(result: Result, of: Callable[[Result], Result], keys: tuple[str, ...] = ("known", "unknown")) -> str:
    """Known / unknown, or what else is asked for."""
    return " / ".join(f"{100 * mean(result, lambda order, key=key: of(order)[key]):.1f}" for key in keys)


def accuracy_table(
    results: list[Result], rivals: tuple[str, ...] = RIVALS, keys: tuple[str, ...] = ("known", "unknown")
) -> str:
    ways: dict[str, Callable[[Result], Result]] = {
        "**mygo**": lambda order: order["methods"]["mygo"],
        "mygo, device": lambda order: order["methods"]["mygo"]["device"],
        "mygo, device, computed": lambda order: order["methods"]["mygo"]["device_computed"],
        **{name: lambda order, name=name: order["methods"][name] for name in rivals},
    }
    rows = [[name, *(percents(result, of, keys) for result in results)] for name, of in ways.items()]
    return table(["", *(result["name"] for result in results)], rows)


def larger_targets(results: list[Result]) -> str:
    """MyGO less the best rival that keeps no photo, over the splits: mean, and standard deviation of a split's."""
    rivals = [name for name in RIVALS if name != "joint"]
    rows = []
    for result in results:
        row = [result["name"]]
        for key in KEYS:
            methods = {name: [order["methods"][name][key] for order in result["orders"]] for name in ("mygo", *rivals)}
            best = max(rivals, key=lambda name, shares=methods: np.mean(shares[name]))
            gaps = 100 * np.subtract(methods["mygo"], methods[best])
            row.append(f"{gaps.mean():+.1f} ± {gaps.std(ddof=1):.1f} (`{best}`)")
        rows.append(row)
    return table(["points", "task known", "task unknown", "each class alike"], rows)


def even_prior(results: list[Result]) -> str:
    """What it costs and gains to take all classes for equally likely."""
    rows = []
    for result in results:
        parts = [lambda order: order["methods"]["mygo"], lambda order: order["methods"]["mygo"]["equally_likely"]]
        cells = [
            " / ".join(f"{100 * mean(result, lambda o, of=of, key=key: of(o)[key]):.1f}" for key in KEYS)
            for of in parts
        ]
        rows.append([result["name"], *cells])
    return table(["known / unknown / each class alike", "as frequent as in training", "`--sleep.prior 0`"], rows)


def targets(results: list[Result]) -> str:
    """What holds of "not below the best rival", in a sentence a set."""
    lines = []
    for result in results:
        gaps = []
        for key in ("known", "unknown"):
            best, name = max(
                (mean(result, lambda order, rival=rival, key=key: order["methods"][rival][key]), rival)
                for rival in RIVALS
            )
            own = mean(result, lambda order, key=key: order["methods"]["mygo"][key])
            gaps.append(f"task {key} {100 * (own - best):+.1f} points against `{name}`")
        lines.append(f"- {result['name']}: {', '.join(gaps)}.")
    return "MyGO against the best rival of each column:\n\n" + "\n".join(lines)


def described(result: Result) -> str:
    median = "a median shorter side of " if result.get("resplit") else ""
    return (
        f"`{result['name']}`: {result['classes']} classes in {result['tasks']} tasks, {result['train']:,} training and "
        f"{result['test']:,} test photos of {median}{result['shorter_side']} pixels, brought to {result['input']}."
    )


def kilobytes(number: float) -> str:
    return f"{number / 1000:,.0f}"


def bytes_table(results: list[Result]) -> str:
    rows = []
    parts = {"device: means": "means", "device: factor": "factor", "device: classifier": "classifier", "box": "learner"}
    for words, part in parts.items():
        own = [mean(result, lambda order, part=part: order["methods"]["mygo"][f"bytes_{part}"]) for result in results]
        rows.append([f"mygo, {words}, KB", *map(kilobytes, own)])
    for name in RIVALS:
        kept = [mean(result, lambda order, name=name: order["methods"][name]["bytes"]) for result in results]
        rows.append([f"{name}, KB", *map(kilobytes, kept)])
    return table(["", *(result["name"] for result in results)], rows)


def replaced(results: list[Result]) -> str:
    rows = []
    for result in results:
        sent = mean(result, lambda order: sum(order["methods"]["mygo"]["rows_sent"]))
        factors = mean(result, lambda order: order["methods"]["mygo"]["factor_versions"][-1])
        rows.append([result["name"], str(result["tasks"]), f"{sent:.1f}", f"{factors:.1f}"])
    return table(["", "tasks", "rows", "factor"], rows)


def cost_table(results: list[Result]) -> str:
    rows = []
    for result in results:
        seconds = {
            part: mean(result, lambda order, part=part: order["methods"]["mygo"]["seconds"][part])
            for part in ("wake", "sleep", "factor")
        }
        trunk = result["seconds_trunk"]
        shown = [f"{value:.2f}" for value in seconds.values()]
        rows.append([result["name"], f"{trunk:.1f}", *shown, f"{100 * sum(seconds.values()) / trunk:.0f} %"])
    return table(["seconds", "trunk", "wake and memory", "sleep", "factor", "of the trunk's time"], rows)


def shares(cost: Result, size: str) -> list[float]:
    """Per cent of the trunk's time on inputs of that size."""
    return [100 * row["seconds"] / (row["tasks"] * row["images"] * row["trunk_seconds"][size]) for row in cost["rows"]]


def many_table(cost: Result) -> str:
    """Shares of the trunk's time on inputs of both sizes, by images a task and tasks."""
    small, large = (shares(cost, size) for size in ("160", "224"))
    found = {(r["images"], r["tasks"]): pair for r, *pair in zip(cost["rows"], small, large, strict=True)}
    images, tasks = (sorted({key[place] for key in found}) for place in (0, 1))
    rows = [[f"{n}", *("{:.0f} / {:.0f} %".format(*found[n, count]) for count in tasks)] for n in images]
    return table(["photos a task", *(f"{count} task{'s' * (count > 1)}" for count in tasks)], rows)


def updates_table(updates: Result) -> str:
    """A row for each update that renews what devices answer by, and for the last."""
    ways = ("box", "device", "all rows anew", "rows stay", "computed")
    rows = []
    for number, update in enumerate(updates["updates"]):
        spent = update["bytes"]
        per_task = update["classes"] - (updates["updates"][number - 1]["classes"] if number else 0)
        renewed = {"rows": spent["rows"] > 2000 * per_task, "correction": "correction" in spent}
        renewed["factor"] = "factor" in spent
        if not any(renewed.values()) and number + 1 < len(updates["updates"]):
            continue
        brings = ", ".join(name for name, new in renewed.items() if new) or "its task alone"
        answers = [update["answers"][way] for way in ways]
        shown = [f"{100 * each['known']:.1f} / {100 * each['unknown']:.1f}" for each in answers]
        rows.append([str(update["classes"]), kilobytes(spent["update"]), brings, *shown])
    return table(["classes", "KB", "anew", *ways], rows)


def updates_about(updates: Result) -> str:
    """Of all updates but the first: what they bring at most."""
    later = [update["bytes"] for update in updates["updates"][1:]]
    alone = [each["update"] for each in later if not {"factor", "correction"} & set(each) and each["rows"] < 2e4]
    most = max(each["update"] for each in later)
    first = next(each for each in updates["updates"] if each["classes"] >= 80)
    few, many = (kilobytes(bound) for bound in (min(alone), max(alone)))
    devices = kilobytes(first["bytes"]["version"]), kilobytes(later[-1]["version"])
    return (
        f"`{updates['name']}`: {updates['classes']} classes in {updates['tasks']} tasks, {updates['train']:,} training "
        f"and {updates['test']:,} test photos. The largest update brought {kilobytes(most)} KB; those of a task alone "
        f"{few} to {many} KB: manifest and self-test hardly grow with the classes, since older tasks stand in files "
        "of their own, which come once ([bundle.md](bundle.md)). At "
        f"{first['classes']} classes a whole device takes {devices[0]} KB, at {updates['classes']} {devices[1]} KB, "
        "besides the trunk."
    )


def shrinkage_table(results: list[Result]) -> str:
    rows = []
    for result in results:
        for name in result["orders"][0]["shrinkage"]:
            value = mean(result, lambda order, name=name: order["shrinkage"][name]["shrinkage"])
            accuracy = percents(result, lambda order, name=name: order["shrinkage"][name])
            label = "strength 1" if name == "default" else name  # there was a default once
            rows.append([f"{result['name']}, {label}", f"{value:.2f}", accuracy])
    return table(["", "shrinkage", "task known / unknown"], rows)


def alarms_table(results: list[Result]) -> str:
    """Of photos of known and of unknown classes, what thresholds refuse."""
    rows = []
    for result in results:
        for name, words in (("by_dreams", "of dreams"), ("by_wake", "of images in their wake")):
            shares = [
                f"{100 * mean(result, lambda order, a=f'{name}_{share}', b=kind: order['rejection'][a][b]):.1f}"
                for share in (0.05, 0.01)
                for kind in ("known", "unknown")
            ]
            rows.append([f"{result['name']}, {words}", *shares])
    return table(["per cent refused", "known, 5 %", "unknown, 5 %", "known, 1 %", "unknown, 1 %"], rows)


def certainty_table(results: list[Result]) -> str:
    rows = []
    for result in results:
        parts = [
            mean(result, lambda order, key=key: order["methods"]["mygo"]["calibration_error"][key])
            for key in ("temperature", "before", "after")
        ]
        rows.append([result["name"], f"{parts[0]:.1f}", f"{parts[1]:.3f}", f"{parts[2]:.3f}"])
    return table(["expected calibration error", "temperature", "before", "after"], rows)


def shots_table(results: list[Result]) -> str:
    rows = []
    for result in results:
        for shots in result["orders"][0]["shots"]:
            keys = ("new_known", "new_unknown", "old_unknown")
            row = [mean(result, lambda order, shots=shots, key=key: order["shots"][shots][key]) for key in keys]
            rows.append([f"{result['name']}, {shots} a class", *(f"{100 * value:.1f}" for value in row)])
    return table(["per cent right", "new task, known", "new task, unknown", "old tasks, unknown"], rows)


def rejection_table(results: list[Result]) -> str:
    scores = ("both", "distance", "largest_logit")
    rows = [
        [result["name"], *(f"{mean(result, lambda order, s=s: order['rejection'][s]['auroc']):.3f}" for s in scores)]
        for result in results
    ]
    return table(["AUROC", *(score.replace("_", " ") for score in scores)], rows)


def choices_table(choices: Result) -> str:
    rows = []
    for name, by_size in choices["sets"].items():
        for size, found in by_size.items():
            powers = [f"{100 * found[power]['known']:.1f} / {100 * found[power]['unknown']:.1f}" for power in POWERS]
            rows.append(
                [f"{name}, {found['shorter_side']} pixels, brought to {size}", *powers, f"{found['seconds_trunk']:.1f}"]
            )
    return table(["task known / unknown", "square root", "as they are", "seconds of the trunk"], rows)


def students_table(students: Result) -> str:
    rows = [
        [name, f"{100 * row['known']:.1f} / {100 * row['unknown']:.1f}", f"{row['seconds']:.1f}"]
        for name, row in students["students"].items()
    ]
    return table([students["set"], "task known / unknown", "seconds"], rows)


def gans(students: Result) -> str:
    """What a GAN of vectors costs and is worth beside the Gaussians, in a sentence."""
    exact, gan = students["students"]["exact"], students["students"]["network, on dreams of GANs"]
    known, unknown = (f"{100 * (gan[key] - exact[key]):+.1f}" for key in ("known", "unknown"))
    return (
        f"That takes {gan['seconds']:.0f} seconds of the processor, where means and covariance take "
        f"{exact['seconds']:.1f}, and answers differ by {known} points with the task known and {unknown} unknown: of "
        "vectors, GANs are dearer and remember less."
    )


def picture(results: list[Result]) -> None:
    """Accuracy over tasks, the task unknown, of every set."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for result in results:
        curves = [[point["unknown"] for point in order["methods"]["mygo"]["curve"]] for order in result["orders"]]
        axes.plot(range(1, result["tasks"] + 1), 100 * np.mean(curves, 0), marker="o", label=result["name"])
    axes.set_xlabel("tasks learnt")
    axes.set_ylabel("right, task unknown, per cent")
    axes.set_xticks(range(1, max(result["tasks"] for result in results) + 1))
    axes.legend()
    figure.savefig(PICTURE, dpi=120, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
