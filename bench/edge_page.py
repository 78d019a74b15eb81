"""Make docs/edge.md from bench/results/edge.json: python bench/edge_page.py"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "edge.json"
SCATTER = 0.1  # per cent: of the score, between two trainings that differ in nothing but the last bits of dreams
EAGER = ("eager PyTorch", "eager PyTorch, channels last")


def main() -> None:
    (ROOT / "docs" / "edge.md").write_text(page(json.loads(RESULTS.read_text())))


def page(result: dict[str, Any]) -> str:
    """docs/edge.md of a measurement."""
    machine, versions = result["machine"], result["versions"]
    parts = {
        "command": result["command"],
        "run": "`--dataset {dataset} --preset {preset} --seed {seed}` on pixels".format_map(result["run"]),
        "machine": f"{machine['processor']}; " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "load": f"{machine['load_before_timing']} before and {machine['load_after_timing']} after the timing, on "
        f"{machine['cores']} cores",
        "classifier": classifier_table(result),
        "generator": generator_table(result),
        "gate": "\n".join(f"- {line}" for line in result["gate"]["int8"] if "likeness" not in line),
        "targets": targets(result),
    }
    template = (ROOT / "docs" / "edge.template.md").read_text()
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def microseconds(row: dict[str, Any], batch: int) -> float:
    return row[f"batch_{batch}_us"]["median"]


def fastest_eager(timed: dict[str, Any], batch: int) -> float:
    return min(microseconds(timed[name], batch) for name in EAGER if name in timed)


def speed(timed: dict[str, Any], name: str, batch: int) -> str:
    took = timed[name][f"batch_{batch}_us"]
    times = fastest_eager(timed, batch) / took["median"]
    return f"{took['median']:.0f} ({took['quantile_20']:.0f} to {took['quantile_80']:.0f}) | {times:.1f}"


def size(row: dict[str, Any]) -> str:
    return f"{row['bytes']:,} | {row['load_ms']:.1f}" if row.get("bytes") else "– | –"


SPEEDS = ["bytes", "load, ms", "1 image, µs: median (20 to 80 %)", "× eager", "32 images, µs", "× eager"]


def classifier_table(result: dict[str, Any]) -> str:
    timed, checked = result["timed"]["classifier"], result["checked"]["classifier"]
    rows = [
        [
            name,
            size(row),
            *(speed(timed, name, batch) for batch in (1, 32)),
            *(f"{100 * checked[name][key]:.2f}" for key in ("task_known", "task_unknown")),
        ]
        for name, row in timed.items()
    ]
    return table(["", *SPEEDS, "accuracy, task known, %", "task unknown, %"], rows)


def generator_table(result: dict[str, Any]) -> str:
    timed, dreams = result["timed"]["generator"], result["dreams"]
    rows = []
    for name, row in timed.items():
        pixels = result["checked"]["generator"].get(name)
        of = dreams.get(name)
        rows.append(
            [
                name,
                size(row),
                *(speed(timed, name, batch) for batch in (1, 32)),
                f"{pixels['mean_levels']:.2f}" if pixels else "–",
                *(f"{100 * of[key]:.2f}" if of else "–" for key in ("label_fidelity", "classification_accuracy_score")),
            ]
        )
    header = [cell.replace("image", "dream") for cell in SPEEDS]
    return table(
        ["", *header, "pixels, mean of 256 levels off", "label fidelity, %", "classification accuracy score, %"], rows
    )


def targets(result: dict[str, Any]) -> str:
    timed, dreams = result["timed"], result["dreams"]
    rows = []
    for name in ("fp32", "int8"):
        times = fastest_eager(timed["classifier"], 1) / microseconds(timed["classifier"][name], 1)
        verdict = "met" if times >= 4 else f"missed by {4 - times:.1f} ×"
        rows.append(
            [f"classifier {name}, one image, one thread, against eager PyTorch", "≥ 4 ×", f"{times:.1f} ×", verdict]
        )
    sizes = {name: timed["generator"][name]["bytes"] / 1000 for name in ("int8-weights", "fp16")}
    least = min(sizes.values())
    verdict = "met" if least <= 64 else f"missed by {least - 64:.1f} KB"
    words = ", ".join(f"{name} {kilobytes:.1f} KB" for name, kilobytes in sizes.items())
    rows.append(["generator of a task, the smaller of the two", "≤ 64 KB", words, verdict])
    for key in ("label_fidelity", "classification_accuracy_score"):
        before, after = (100 * dreams[name][key] for name in ("eager PyTorch", "int8-weights"))
        words = key.replace("_", " ")
        verdict = "met" if after >= before - SCATTER else f"missed by {before - after:.2f}"
        rows.append([f"dreams of int8-weights: {words}", f"as before: {before:.2f} %", f"{after:.2f} %", verdict])
    return table(["", "target", "measured", ""], rows)


if __name__ == "__main__":
    main()
