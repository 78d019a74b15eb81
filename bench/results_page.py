"""Make docs/results.md, the README's table and the pictures from the committed summaries.

    python bench/results_page.py [--dreams RUN]

--dreams copies dreams.png of a run's folder into docs/images/.
"""

import argparse
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mygo_edge.measure.plots import plot_accuracies

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
_DIGITS_SECONDS = 45  # of the run without any option, on two cores
MNIST = "Split-MNIST, five tasks of two digits"
FASHION = "Split-Fashion-MNIST, five tasks of two kinds of clothes"
METHODS = {
    "mygo": "**MyGO**, dreams only",
    "finetune": "fine-tuning",
    "frozen": "random features, frozen",
    "reference": "published algorithm",
    "joint": "joint training of the same network, on all data at once",
}
BASE = "**as it is**"
SLEEPS = {  # by what it shows
    "no-sleep": "no sleep",
    "published-teacher": "the teacher is a copy of the student, as published",
    "no-expert": "the teacher of the new task is its head on frozen features",
    "experts": "each task's own expert is kept, and teaches in the old network's place",
    "labels": "where teacher and asked-for class agree, that class is taught",
    "rejected": "dreams that the teacher takes for another class are rejected",
    "own-heads-only": "nothing taught to heads of other tasks",
    "logsumexp": "heads of other tasks: log-sum-exp of the logits in place of their mean",
    "other-heads-thrice": "heads of other tasks: three times the weight",
    "other-target-4": "heads of other tasks: -4 in place of -8",
    "no-task-entropy": "whose dream it is not taught by cross-entropy, too",
    "task-entropy-15": "that cross-entropy at three times the weight",
    "limit-5": "logits limited to 5",
    "limit-20": "logits limited to 20",
    "many-small-steps": "twice as many steps of half as many dreams",
    "twice-the-steps": "twice as many steps",
    "no-calibration": "heads not calibrated against each other",
}
MEMORIES = {
    "no-gaussians": "dreams of GANs alone",
    "gaussians-alone": "dreams of Gaussians alone",
    "shifted-critic": "the critic sees real images and dreams shifted (differentiable augmentation)",
}
SMALL = {
    "letters-10": "letters of fonts, 10 classes in 5 tasks, 240 a class",
    "letters-26": "letters of fonts, 26 classes in 13 tasks, 240 a class",
    "fashion": "Fashion-MNIST, 165 a class",
    "photos": "photos, grey, 28 pixels, 165 a class",
    "signs": "four signs a class, 10 classes in 5 tasks, 1,200 a class",
    "photos-colour": "photos, in colour, 32 pixels, 1,000 a class, without a trunk",
}
WHOLE = {  # sets that are learnt by patches as they are, and what they are held against
    "mnist": "MNIST, 6,000 a class",
    "fashion-mnist": "Fashion-MNIST, 6,000 a class",
}
PATCHES = "MyGO above its own filters, the default for images"
Summary = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dreams", type=Path, help="folder of a run")
    options = parser.parse_args()
    for path, text in documents().items():
        path.write_text(text)
    best = runs_of("mnist")[1]
    methods = {name: best[0]["methods"][name] for name in METHODS}
    plot_accuracies(ROOT / "docs" / "images", [task["name"] for task in best[0]["tasks"]], methods)
    if options.dreams:
        shutil.copyfile(options.dreams / "plots" / "dreams.png", ROOT / "docs" / "images" / "dreams.png")


def documents() -> dict[Path, str]:
    """docs/results.md, and README.md with its tables."""
    runs, best = runs_of("mnist")
    others, second = runs_of("fashion-mnist")
    template = (ROOT / "docs" / "results.template.md").read_text()
    parts = {
        "machine": machine(best[0]),
        "accuracy": accuracy_table(best, MNIST, patches_of("mnist")),
        "cost": cost_table(best),
        "tasks": task_table(best),
        "fast": fast_table(runs),
        "targets": target_table(best, runs),
        "second_accuracy": accuracy_table(second, FASHION, patches_of("fashion-mnist")),
        "second_cost": cost_table(second),
        "second_tasks": task_table(second),
        "second_targets": relative_table(second),
        "sleeps": ablation_table(others, SLEEPS),
        "memories": ablation_table(others, MEMORIES, memories=True),
        "small": small_table(),
        "small_targets": small_targets(small_runs()),
        "patches": patches_table(sets := patches_beside_pixels({"mnist": best, "fashion-mnist": second})),
        "patches_targets": small_targets({name: in_place(*runs) for name, runs in sets.items()}),
        "patches_best": patches_targets(sets["mnist"][0], runs["reference-seed0"]),
        "digits": digits_table(),
        "commands": commands(runs),
        "second_commands": commands(others),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
    readme = ROOT / "README.md"
    tables = f"{parts['accuracy']}\n\n{parts['second_accuracy']}"
    inner = f"<!-- results: made by bench/results_page.py -->\n{tables}\n<!-- end of results -->"
    start = re.sub(r"<!-- results: .*?<!-- end of results -->", inner, readme.read_text(), flags=re.DOTALL)
    return {ROOT / "docs" / "results.md": page, readme: start}


def runs_of(dataset: str) -> tuple[dict[str, Summary], list[Summary]]:
    """All runs on a dataset by name, and those of preset best, each with the baselines of its seed."""
    runs = {file.stem: json.loads(file.read_text()) for file in sorted((RESULTS / dataset).glob("*.json"))}
    best = [with_baselines(run, runs[f"baselines-{name[5:]}"]) for name, run in runs.items() if name[:5] == "best-"]
    return runs, best


def digits_table() -> str:
    """The run without any option, over its seeds."""
    runs = json.loads((RESULTS / "digits.json").read_text())["runs"]

    def column(key: str) -> str:
        return spread(run[key] for run in runs)

    lines = [
        ["**MyGO**", column("mygo task_known"), column("mygo task_unknown"), column("label_fidelity"), column("score")],
        ["fine-tuning", column("finetune task_known"), column("finetune task_unknown"), "–", "–"],
    ]
    seconds = spread((run["seconds"] for run in runs), 1, 0)
    said = f"{len(runs)} seeds, {runs[0]['threads']} threads: {seconds} seconds from the command to the bundle "
    said += f"(target: at most {_DIGITS_SECONDS})."
    return said + "\n\n" + table(["", "task known", "task unknown", "label fidelity", "score of dreams"], lines)


def commands(runs: dict[str, Summary]) -> str:
    return "\n".join(f"- `{name}`: `{run['command']}`" for name, run in runs.items())


def with_baselines(run: Summary, other: Summary) -> Summary:
    """A run of MyGO and the published algorithm, with the baselines of another run of the same seed."""
    baselines = {name: other["methods"][name] for name in ("finetune", "frozen", "joint")}
    return {**run, "methods": {**baselines, **run["methods"]}}


def machine(run: Summary) -> str:
    versions = run["versions"]
    names = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "onnxruntime", "numpy"))
    arithmetic = ", GANs and sleeps in bf16" if run["device"].get("bf16") else ""
    return f"{names}; {run['device']['type']}, two runs at a time, one thread each{arithmetic}"


def spread(values: Iterable[float], scale: float = 100, digits: int = 2) -> str:
    """Mean and, of several values, standard deviation."""
    scaled = [value * scale for value in values]
    text = f"{mean(scaled):.{digits}f}"
    return f"{text} ± {stdev(scaled):.{digits}f}" if len(scaled) > 1 else text


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def of(runs: list[Summary], method: str, pick: Callable[[Summary], float | None]) -> list[float]:
    """A number of a method from every run that has it."""
    values = [pick(run["methods"][method]) for run in runs if method in run["methods"]]
    return [value for value in values if value is not None]


def accuracy_table(best: list[Summary], what: str, patches: list[Summary]) -> str:
    lines = [(label, method, best) for method, label in METHODS.items()]
    lines.insert(1, (PATCHES, "mygo", patches))
    rows = []
    for label, method, runs in lines:
        cells = [
            spread(of(runs, method, lambda r, key=key, name=name: r[key][name]))
            for key in ("task_known", "task_unknown")
            for name in ("average", "forgetting")
        ]
        rows.append([label, *cells])
    seeds = f"{what}, {len(best)} seeds: test accuracy, %, mean ± std. Of pixels `--preset best`; filters have none."
    header = ["", "task known", "forgetting", "task unknown", "forgetting"]
    return f"{seeds}\n\n{table(header, rows)}"


def cost_table(best: list[Summary]) -> str:
    rows = []
    for method, label in METHODS.items():
        fidelity = of(best, method, lambda r: r["dreams"]["label_fidelity"])
        score = of(best, method, lambda r: r["dreams"]["classification_accuracy_score"])
        seconds = [
            spread(of(best, method, lambda r, key=key: r["seconds"][key]), 1, 0)
            for key in ("wake", "memory", "sleep", "export", "total")
        ]
        rows.append([label, *(spread(v) if v else "–" for v in (fidelity, score)), *seconds])
    header = [
        "",
        "label fidelity, %",
        "classification accuracy score, %",
        "wake, s",
        "memory",
        "sleep",
        "export",
        "total",
    ]
    return table(header, rows)


def task_table(best: list[Summary]) -> str:
    names = [task["name"] for task in best[0]["tasks"]]

    def row(label: str, pick: Callable[[Summary, int], float]) -> list[str]:
        return [label, *(spread(pick(run["methods"]["mygo"], t) for run in best) for t in range(len(names)))]

    rows = [
        row("right after learning, task known", lambda r, t: r["task_known"]["matrix"][t][t]),
        row("at the end, task known", lambda r, t: r["task_known"]["matrix"][-1][t]),
        row("at the end, task unknown", lambda r, t: r["task_unknown"]["matrix"][-1][t]),
        row("label fidelity", lambda r, t: r["dreams"]["label_fidelity_by_task"][t]),
        row("features moved by the sleep", lambda r, t: r["sleep"][t]["feature_change"]),
    ]
    sizes = best[0]["methods"]["mygo"]["bytes"]
    note = (
        f"Bytes on the device: classifier {sizes['classifier']:,}, each generator "
        f"{sizes['generators'][0]:,}, weights in int8; all generators take the room of "
        f"{sizes['equivalent_images']:,} raw images of 60,000."
    )
    return table(["MyGO, %", *names], rows) + "\n\n" + note


def ratio(run: Summary) -> float:
    """MyGO's seconds over the published algorithm's, in one run."""
    return run["methods"]["mygo"]["seconds"]["total"] / run["methods"]["reference"]["seconds"]["total"]


def fast_table(runs: dict[str, Summary]) -> str:
    rows = []
    for method in ("mygo", "reference"):
        seeds = [run["methods"][method] for run in fast_runs(runs)]
        shares = [spread(map(pick, seeds)) for pick in (known, unknown, fidelity)]
        rows.append([METHODS[method], *shares, spread((result["seconds"]["total"] for result in seeds), 1, 0)])
    header = [
        f"`--preset fast`, {len(fast_runs(runs))} seeds",
        "task known",
        "task unknown",
        "label fidelity",
        "seconds",
    ]
    return table(header, rows)


def fast_runs(runs: dict[str, Summary]) -> list[Summary]:
    return [run for name, run in runs.items() if name.startswith("fast-seed")]


def verdict(what: str, target: float, got: float, unit: str = " %", less: bool = False) -> list[str]:
    """A row of a table of targets."""
    met = got <= target if less else got >= target
    by = abs(got - target)
    words = "met" if met else "missed by " + (f"{by:.2f}" if by >= 0.005 else "less than 0.005")
    return [what, f"{'≤' if less else '≥'} {target:g}{unit}", f"{got:.2f}{unit}", words]


def average(runs: list[Summary], pick: Callable[[Summary], float | None], method: str = "mygo") -> float:
    """Mean of a number of a method over runs, in percent."""
    return 100 * mean(of(runs, method, pick))


def known(result: Summary) -> float:
    return result["task_known"]["average"]


def unknown(result: Summary) -> float:
    return result["task_unknown"]["average"]


def fidelity(result: Summary) -> float:
    return result["dreams"]["label_fidelity"]


def score(result: Summary) -> float:
    return result["dreams"]["classification_accuracy_score"]


def target_table(best: list[Summary], runs: dict[str, Summary]) -> str:
    rows = [
        verdict("best, task known", 99.87, average(best, known)),
        verdict("best, task unknown", 98.2, average(best, unknown)),
        verdict("best, label fidelity", 98, average(best, fidelity)),
        verdict("best, classification accuracy score", 97, average(best, score)),
        verdict("best, time against the published algorithm", 1.0, mean(map(ratio, best)), " ×", less=True),
    ]
    fast = fast_runs(runs)
    rows += [
        verdict("fast, task known", 99.7, average(fast, known)),
        verdict("fast, task unknown", 96.5, average(fast, unknown)),
        verdict("fast, label fidelity", 90, average(fast, fidelity)),
        verdict("fast, time against the published algorithm", 0.4, mean(map(ratio, fast)), " ×", less=True),
    ]
    return table(["", "target", "measured", ""], rows)


def relative_table(best: list[Summary]) -> str:
    """Targets for any image set, against other methods in the same table."""
    finetune, joint = (average(best, known, method) for method in ("finetune", "joint"))
    together = average(best, unknown, "joint")
    rows = [
        verdict("task known, against fine-tuning less 0.1", round(finetune - 0.1, 2), average(best, known)),
        verdict("task known, against joint training less 0.3", round(joint - 0.3, 2), average(best, known)),
        verdict("task unknown, against joint training less 6", round(together - 6, 2), average(best, unknown)),
        verdict(
            "classification accuracy score, against joint training less 4", round(together - 4, 2), average(best, score)
        ),
    ]
    return table(["", "target", "measured", ""], rows)


def small_runs(kind: str = "") -> dict[str, list[Summary]]:
    """Runs on each set of few images a class, seed by seed: on pixels, or of another kind, as "-patches"."""
    files = {name: sorted((RESULTS / "small").glob(f"{name}{kind}-seed*.json")) for name in SMALL}
    return {name: [json.loads(file.read_text()) for file in found] for name, found in files.items() if found}


def small_table() -> str:
    rows = []
    for name, runs in small_runs().items():
        accuracies = [
            spread(of(runs, method, pick)) for pick in (known, unknown) for method in ("mygo", "finetune", "joint")
        ]
        rows.append([SMALL[name], str(len(runs)), *accuracies, spread(of(runs, "mygo", score))])
    methods = ["MyGO", "fine-tuning", "joint"]
    header = ["", "seeds", *(f"{method}, known" for method in methods), *(f"{method}, unknown" for method in methods)]
    return table([*header, "score of dreams"], rows)


def patches_of(dataset: str) -> list[Summary]:
    """Runs above the trunk of patches on a whole set, seed by seed."""
    return [json.loads(file.read_text()) for file in sorted((RESULTS / dataset).glob("patches-seed*.json"))]


def patches_beside_pixels(whole: dict[str, list[Summary]]) -> dict[str, tuple[list[Summary], list[Summary]]]:
    """Of each set the runs above the trunk of patches, and those on pixels; `whole`: the latter on whole sets."""
    pixels = small_runs()
    few = {name: (runs, pixels[name]) for name, runs in small_runs("-patches").items()}
    return {name: (patches_of(name), runs) for name, runs in whole.items()} | few


def patches_table(sets: dict[str, tuple[list[Summary], list[Summary]]]) -> str:
    rows = []
    for name, (runs, pixels) in sets.items():
        accuracies = [
            spread(of(found, method, pick))
            for pick in (known, unknown)
            for found, method in ((runs, "mygo"), (pixels, "mygo"), (pixels, "joint"))
        ]
        seconds = f"{mean(map(patches_seconds, runs)):.0f}"
        rows.append([(SMALL | WHOLE)[name], *accuracies, spread(of(runs, "mygo", score)), seconds])
    methods = ["patches", "pixels", "joint, pixels"]
    header = ["", *(f"{method}, known" for method in methods), *(f"{method}, unknown" for method in methods)]
    return table([*header, "score of dreams", "seconds"], rows)


def patches_seconds(run: Summary) -> float:
    """Of learning, and of the trunk, on training and test images."""
    return run["methods"]["mygo"]["seconds"]["total"] + run["trunk"]["seconds"]


def in_place(runs: list[Summary], pixels: list[Summary]) -> list[Summary]:
    """The runs on pixels, with MyGO as it is above the trunk of patches."""
    return [
        {**other, "methods": {**other["methods"], "mygo": run["methods"]["mygo"]}}
        for run, other in zip(runs, pixels, strict=True)
    ]


def patches_targets(runs: list[Summary], beside: Summary) -> str:
    """Those of preset best on MNIST that do not ask for pixels; `beside` the first of the runs the published algorithm
    learnt.
    """
    share = patches_seconds(runs[0]) / beside["methods"]["reference"]["seconds"]["total"]
    rows = [
        verdict("task known", 99.87, average(runs, known)),
        verdict("task unknown", 98.2, average(runs, unknown)),
        verdict("classification accuracy score", 97.0, average(runs, score)),
        verdict("time against the published algorithm, learnt beside it", 1, share, " ×", less=True),
    ]
    return table(["by patches", "target", "measured", ""], rows)


def small_targets(sets: dict[str, list[Summary]]) -> str:
    """The targets of `relative_table` that each set misses."""
    lines = []
    for name, runs in sets.items():
        missed = [line for line in relative_table(runs).splitlines() if "missed" in line]
        words = "; ".join("{}, {}, is {}: {}".format(*line.strip("| ").split(" | ")) for line in missed)
        lines.append(f"- {(SMALL | WHOLE)[name]}: {words or 'all met'}.")
    return "\n".join(lines)


def ablation_table(runs: dict[str, Summary], changes: dict[str, str], memories: bool = False) -> str:
    """A row for each change, with its differences from no change on the same seeds; of memories also what their dreams
    are worth, and what they cost.
    """
    header = ["one change at a time", "seeds", "task known", "", "task unknown", ""]
    header += ["score of dreams", "seconds of memory"] if memories else []
    rows = []
    for name, label in {"base": BASE, **changes}.items():
        seeds = {key[-1]: run["methods"]["mygo"] for key, run in runs.items() if key[:-1] == f"ablation-{name}-seed"}
        if not seeds:
            continue
        row = [label, str(len(seeds))]
        for pick in (known, unknown):
            base = [pick(runs[f"ablation-base-seed{seed}"]["methods"]["mygo"]) for seed in seeds]
            own = [pick(result) for result in seeds.values()]
            row += [f"{100 * mean(own):.2f}", "" if name == "base" else f"{100 * (mean(own) - mean(base)):+.2f}"]
        if memories:
            row.append(spread(score(result) for result in seeds.values()))
            row.append(spread((result["seconds"]["memory"] for result in seeds.values()), 1, 0))
        rows.append(row)
    return table(header, rows)


if __name__ == "__main__":
    main()
