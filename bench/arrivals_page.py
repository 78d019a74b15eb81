"""Make docs/arrivals.md from bench/results/arrivals.json.

python bench/arrivals_page.py
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "arrivals.json"
PAGE = ROOT / "docs" / "arrivals.md"
SETS = {"digits": "digits, default preset", "mnist": "MNIST, `--preset fast`"}
KEYS = {"task_known": "task known", "task_unknown": "task unknown"}
PARTS = ("accuracy_whole", "accuracy_extended", "others_before_forgetting", "others_after_forgetting")
PROBES = ("probe_before_forgetting", "probe_after_forgetting", "probe_never_seen")

Found = list[dict[str, Any]]  # what was measured of a set, seed by seed


def page(result: dict[str, Any]) -> str:
    """The whole page."""
    same = all(found["extended_equals_whole"] for name in SETS for found in result[name])
    words = "the same to the last bit, on both sets and with every seed" if same else "**not** the same everywhere"
    rows = [_row(f"{title}, {kind}", result[name], key) for name, title in SETS.items() for key, kind in KEYS.items()]
    probes = [
        f"| {title} | {' | '.join(_percent(_mean([one[part] for one in result[name]])) for part in PROBES)} |"
        for name, title in SETS.items()
    ]
    verdicts = [_verdict(title, result[name]) for name, title in SETS.items()]
    worst = {name: 100 * max(one["largest_loss"]["task_known"] for one in result[name]) for name in SETS}
    files = sum(found["files_of_the_task"] for name in SETS for found in result[name])
    return f"""# Tasks that arrive later, and tasks that are forgotten

Made by `python bench/arrivals_page.py` from [arrivals.json](../bench/results/arrivals.json), which
`{result["command"]}` wrote; means over {len(result["digits"])} seeds on digits, {len(result["mnist"])} on MNIST.

Five tasks of two digits are learnt in one run; three, and two more later by `--extend`; then the second task is
forgotten by `--forget`. All weights and generators of the extended learner and of the run that had all five from the
start are {words}. Mean test accuracy, %:

| | five at once | three, then two | other four before forgetting | after | change, points | largest loss of one task |
|---|---:|---:|---:|---:|---:|---:|
{chr(10).join(rows)}

The largest loss is of the task that lost most, averaged over seeds; with one seed alone, the most that a task lost was
{worst["digits"]:.2f} points on digits and {worst["mnist"]:.2f} on MNIST, the task known. One test image is 1.4 points
of a task of digits, and 0.05 of one of MNIST.
After forgetting, the bundle has {files} files of the task.
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


def _row(title: str, found: Found, key: str) -> str:
    means = [_mean([_mean(one[part][key]) for one in found]) for part in PARTS]
    change = 100 * (means[3] - means[2])
    return f"| {title} | {' | '.join(map(_percent, means))} | {change:+.2f} | {100 * max(_losses(found, key)):.2f} |"


def _losses(found: Found, key: str) -> list[float]:
    """What every other task lost by the forgetting, averaged over seeds."""
    before, after = ([one[part][key] for one in found] for part in PARTS[2:])
    return [
        _mean(was) - _mean(now) for was, now in zip(zip(*before, strict=True), zip(*after, strict=True), strict=True)
    ]


def _verdict(title: str, found: Found) -> str:
    after, never = (_mean([one[part] for one in found]) for part in PROBES[1:])
    difference = 100 * (after - never)
    if difference > 1:
        return (
            f"- {title}: the probe does better after forgetting, by {difference:.1f} points: something of it is left."
        )
    return f"- {title}: the probe does no better than on features that never saw them ({difference:+.1f} points)."


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text())))
