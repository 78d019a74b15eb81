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
RESULTS = ROOT / "bench" / "results" / "mnist"
METHODS = {
    "mygo": "**MyGO**, dreams only",
    "finetune": "fine-tuning",
    "frozen": "random features, frozen",
    "reference": "published algorithm",
    "joint": "joint training (upper bound, sees all data)",
}
Summary = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dreams", type=Path, help="folder of a run")
    options = parser.parse_args()
    runs = {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}
    best = [with_baselines(run, runs[f"baselines-{name[5:]}"]) for name, run in runs.items() if name[:5] == "best-"]
    template = (ROOT / "docs" / "results.template.md").read_text()
    parts = {
        "machine": machine(best[0]),
        "accuracy": accuracy_table(best),
        "cost": cost_table(best),
        "tasks": task_table(best),
        "fast": fast_table(runs),
        "runs": str(len(best)),
        "targets": target_table(best, runs),
        "commands": "\n".join(f"- `{name}`: `{run['command']}`" for name, run in runs.items()),
    }
    (ROOT / "docs" / "results.md").write_text(re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template))
    readme = ROOT / "README.md"
    inner = f"<!-- results: made by bench/results_page.py -->\n{accuracy_table(best)}\n<!-- end of results -->"
    readme.write_text(re.sub(r"<!-- results: .*?<!-- end of results -->", inner, readme.read_text(), flags=re.DOTALL))
    methods = {name: best[0]["methods"][name] for name in METHODS}
    plot_accuracies(ROOT / "docs" / "images", [task["name"] for task in best[0]["tasks"]], methods)
    if options.dreams:
        shutil.copyfile(options.dreams / "plots" / "dreams.png", ROOT / "docs" / "images" / "dreams.png")


def with_baselines(run: Summary, other: Summary) -> Summary:
    """A run of MyGO and the published algorithm, with the baselines of another run of the same seed."""
    baselines = {name: other["methods"][name] for name in ("finetune", "frozen", "joint")}
    return {**run, "methods": {**baselines, **run["methods"]}}


def machine(run: Summary) -> str:
    versions, threads = run["versions"], run["device"]["threads"]
    names = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "onnxruntime", "numpy"))
    return f"{names}; {run['device']['type']}, two runs at a time with {threads} thread(s) each"


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


def accuracy_table(best: list[Summary]) -> str:
    rows = []
    for method, label in METHODS.items():
        cells = [
            spread(of(best, method, lambda r, key=key, name=name: r[key][name]))
            for key in ("task_known", "task_unknown")
            for name in ("average", "forgetting")
        ]
        rows.append([label, *cells])
    seeds = f"Split-MNIST, five tasks of two digits, `--preset best`, {len(best)} seeds: test accuracy, %, mean ± std."
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
        f"{sizes['generators'][0]:,} (fp32); all generators take the room of {sizes['equivalent_images']:,} raw images "
        "of 60,000."
    )
    return table(["MyGO, %", *names], rows) + "\n\n" + note


def ratio(run: Summary) -> float:
    """MyGO's seconds over the published algorithm's, in one run."""
    return run["methods"]["mygo"]["seconds"]["total"] / run["methods"]["reference"]["seconds"]["total"]


def fast_table(runs: dict[str, Summary]) -> str:
    run = runs.get("fast-seed0")
    if run is None:
        return "Not measured."
    rows = []
    for method in ("mygo", "reference"):
        r = run["methods"][method]
        values = [r["task_known"]["average"], r["task_unknown"]["average"], r["dreams"]["label_fidelity"]]
        rows.append([METHODS[method], *(f"{100 * v:.2f}" for v in values), f"{r['seconds']['total']:.0f}"])
    return table(["`--preset fast`", "task known", "task unknown", "label fidelity", "seconds"], rows)


def target_table(best: list[Summary], runs: dict[str, Summary]) -> str:
    def row(what: str, target: float, got: float, unit: str = " %", less: bool = False) -> list[str]:
        met = got <= target if less else got >= target
        verdict = "met" if met else f"missed by {abs(got - target):.2f}"
        return [what, f"{'≤' if less else '≥'} {target}{unit}", f"{got:.2f}{unit}", verdict]

    def average(pick: Callable[[Summary], float]) -> float:
        return 100 * mean(of(best, "mygo", pick))

    rows = [
        row("best, task known", 99.87, average(lambda r: r["task_known"]["average"])),
        row("best, task unknown", 98.2, average(lambda r: r["task_unknown"]["average"])),
        row("best, label fidelity", 98, average(lambda r: r["dreams"]["label_fidelity"])),
        row("best, classification accuracy score", 97, average(lambda r: r["dreams"]["classification_accuracy_score"])),
        row("best, time against the published algorithm", 1.0, mean(map(ratio, best)), " ×", less=True),
    ]
    if "fast-seed0" in runs:
        fast = runs["fast-seed0"]["methods"]["mygo"]
        rows += [
            row("fast, task known", 99.7, 100 * fast["task_known"]["average"]),
            row("fast, task unknown", 96.5, 100 * fast["task_unknown"]["average"]),
            row("fast, label fidelity", 90, 100 * fast["dreams"]["label_fidelity"]),
            row("fast, time against the published algorithm", 0.4, ratio(runs["fast-seed0"]), " ×", less=True),
        ]
    return table(["", "target", "measured", ""], rows)


if __name__ == "__main__":
    main()
