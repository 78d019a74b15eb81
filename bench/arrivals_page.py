"""Make docs/arrivals.md from bench/results/arrivals.json.

python bench/arrivals_page.py
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "arrivals.json"
PAGE = ROOT / "docs" / "arrivals.md"
SETS = {"digits": "digits, default preset", "mnist": "MNIST, `--preset fast`"}
KEYS = {"task_known": "task known", "task_unknown": "task unknown"}


def page(result: dict[str, Any]) -> str:
    """The whole page."""
    same = [result[name]["extended_equals_whole"] for name in SETS]
    words = "the same to the last bit on both sets" if all(same) else f"equal: {dict(zip(SETS, same, strict=True))}"
    rows = []
    for name, title in SETS.items():
        found = result[name]
        for key, kind in KEYS.items():
            cells = [
                _percent(_mean(found[part][key]))
                for part in (
                    "accuracy_whole",
                    "accuracy_extended",
                    "others_before_forgetting",
                    "others_after_forgetting",
                )
            ]
            loss = f"{100 * found['largest_loss'][key]:.2f}"
            rows.append(f"| {title}, {kind} | {' | '.join(cells)} | {loss} |")
    probes = [
        f"| {title} | {_percent(result[name]['probe_before_forgetting'])} | "
        f"{_percent(result[name]['probe_after_forgetting'])} | {_percent(result[name]['probe_never_seen'])} |"
        for name, title in SETS.items()
    ]
    verdicts = [_verdict(title, result[name]) for name, title in SETS.items()]
    return f"""# Tasks that arrive later, and tasks that are forgotten

Made by `python bench/arrivals_page.py` from [arrivals.json](../bench/results/arrivals.json), which
`{result["command"]}` wrote; one seed.

Five tasks of two digits are learnt in one run; three, and two more later by `--extend`; then the second task is
forgotten by `--forget`. All weights and generators of the extended learner and of the run that had all five from the
start are {words}. Mean test accuracy, %:

| | five at once | three, then two | the other four before forgetting | after | largest loss of one task, points |
|---|---:|---:|---:|---:|---:|
{chr(10).join(rows)}

After forgetting, the bundle has {sum(result[name]["files_of_the_task"] for name in SETS)} files of the task.
What do the features still tell of the forgotten classes? A linear probe, logistic regression on the features of up to
4,000 real training images of these classes, test accuracy, %:

| | before forgetting | after | features that never saw them |
|---|---:|---:|---:|
{chr(10).join(probes)}

{chr(10).join(verdicts)}

What forgetting guarantees: head and generator are gone, and the network that stays was trained from fresh weights on
dreams of the other tasks and the answers to them, so nothing of the task's own weights is left. What it does not:
features that tell other digits apart tell these apart, too, as the last column shows; dreams of other tasks may show
what the old network knew; and bundles that were published before are on devices. With a trunk, features never change:
the task's class means go, and its share of the covariance that all classes pool stays.
"""


def _verdict(title: str, found: dict[str, Any]) -> str:
    after, never = found["probe_after_forgetting"], found["probe_never_seen"]
    difference = 100 * (after - never)
    if difference > 1:
        return (
            f"- {title}: the probe does better after forgetting, by {difference:.1f} points: something of it is left."
        )
    return f"- {title}: the probe does no better than on features that never saw them ({difference:+.1f} points)."


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text())))
