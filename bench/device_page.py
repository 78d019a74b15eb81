"""Put the tables of committed measurements into docs/device.md and docs/bundle.md: python bench/device_page.py"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
Result = dict[str, Any]
SCORES = {
    "mahalanobis": "Mahalanobis distance, threshold of dreams",
    "largest logit": "largest logit, threshold of dreams",
    "novelty": "both, as above, threshold of dreams",
    "novelty, by the wake": "**both, threshold of images in their wake**",
}
STORED = {
    "means fp32, factor fp32": "fp32 | fp32",
    "means fp16, factor fp16": "fp16 | fp16",
    "means fp16, factor int8": "**fp16** | **int8**",
    "means int8, factor int8": "int8 | int8",
    "classifier fp16, shipped": "besides: a shipped classifier in fp16 |",
    "classifier int8, shipped": "besides: a shipped classifier in int8 |",
}


def main() -> None:
    for path, text in documents().items():
        path.write_text(text)


def documents() -> dict[Path, str]:
    """Both pages, with what was measured between `<!-- NAME: … -->` and `<!-- end of NAME -->`."""
    features, head = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("feature_device", "device_head"))
    tables = {
        "rejection": rejection(features["rejection"]),
        "few photos": few_shot(features["few_shot"]),
        "heads": heads(head),
        "precisions": precisions(features["precisions"]),
        "bits": bits(features["rows"]),
    }
    found = {}
    for name in ("device", "bundle"):
        path = ROOT / "docs" / f"{name}.md"
        text = path.read_text()
        for table, lines in tables.items():
            inner = f"<!-- {table}: made by bench/device_page.py -->\n{lines}\n<!-- end of {table} -->"
            text = re.sub(rf"<!-- {table}: .*?<!-- end of {table} -->", lambda _, i=inner: i, text, flags=re.DOTALL)
        found[path] = text
    return found


def rejection(scores: Result) -> str:
    lines = ["| score | AUROC | known rejected, threshold at 5 % | unknown rejected | known, at 1 % | unknown |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, words in SCORES.items():
        score = scores[name]
        shares = [
            f"{100 * score[f'{kind} rejected at {share}']['mean']:.1f}"
            for share in (0.05, 0.01)
            for kind in ("known", "unknown")
        ]
        lines.append(f"| {words} | {spread(score['auroc'], 1, 3)} | {' | '.join(shares)} |")
    return "\n".join(lines)


def few_shot(found: Result) -> str:
    lines = ["| photos a class | new task, known | new task, unknown | old tasks, unknown |", "|---|---:|---:|---:|"]
    for photos, row in found.items():
        cells = [
            f"{100 * row[key]['mean']:.1f}" if key in row else ""
            for key in ("new, known", "new, unknown", "old, unknown")
        ]
        lines.append(f"| {'none: before' if photos == 'before' else photos} | {' | '.join(cells)} |")
    return "\n".join(lines)


def heads(found: Result) -> str:
    keys = ("new_task_known", "new_task_unknown", "old_tasks_unknown", "all_tasks_unknown")
    lines = [
        "| images a class | new task, known | new task, unknown | old tasks, unknown | all tasks, unknown | seconds |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|")
    lines.append(f"| none: before | | | {100 * found['before']['old_tasks_unknown']:.1f} | | |")
    for row in found["device_head"]:
        cells = [spread(row[key], 100, 1) for key in keys]
        lines.append(f"| {row['images_a_class']:,} | {' | '.join(cells)} | {row['seconds']['mean']:.1f} |")
    box = [f"{100 * found['box'][key]:.1f}" for key in keys]
    lines.append(f"| the box, a wake and a sleep, 11,800 images | {' | '.join(box)} | |")
    return "\n".join(lines)


def precisions(found: Result) -> str:
    lines = ["| means | factor | KB | accuracy, % | agreement, % |", "|---|---|---:|---:|---:|"]
    return "\n".join([*lines, *(f"| {words} | {stored(found[name])} |" for name, words in STORED.items())])


def bits(found: Result) -> str:
    lines = ["| bits | KB | accuracy, % | agreement, % |", "|---|---:|---:|---:|"]
    for name, row in found.items():
        number = name.removesuffix(" bits")
        lines.append(f"| {'**8**' if number == '8' else number} | {stored(row)} |")
    return "\n".join(lines)


def stored(row: Result) -> str:
    """Kilobytes, accuracy and agreement."""
    size = row["bytes"]["mean"] / 1000
    shares = [f"{100 * row[key]['mean']:.2f}" for key in ("accuracy", "agreement")]
    return " | ".join([f"{size:.0f}" if size >= 8 else f"{size:.1f}", *shares])


def spread(number: Result, times: float, digits: int) -> str:
    return f"{times * number['mean']:.{digits}f} ± {times * number['std']:.{digits}f}"


if __name__ == "__main__":
    main()
