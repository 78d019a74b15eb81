"""Tasks that arrive later, and a task that is forgotten, measured on digits and on MNIST.

    OMP_NUM_THREADS=1 python bench/arrivals.py --data-root DIR [--work runs/arrivals]

Learns five tasks in one run; three, and then two more by --extend; lets the second task be forgotten; and learns the
four other tasks alone. A linear probe (logistic regression on the features of real training images) says what the
features after forgetting still tell of the forgotten classes, beside features that never saw them. DIR holds MNIST/raw.
Writes bench/results/arrivals.json.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression

from mygo_edge.data.datasets import load
from mygo_edge.data.tasks import Arrival, arrivals_of
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.learn.pixels.wake import extract_features
from mygo_edge.run.saved import open_learner

RESULTS = Path(__file__).parent / "results" / "arrivals.json"
GROUPS = ("0,1", "2,3", "4,5", "6,7", "8,9")
FORGOTTEN = 1
PROBED = 4000  # training images of a probe
SEEDS = range(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, help="folder with MNIST/raw")
    parser.add_argument("--work", type=Path, default=Path("runs/arrivals"), help="folder of the runs, made anew")
    options = parser.parse_args()
    sets = {"digits": [], "mnist": ["--dataset", "mnist", "--data-root", options.data_root, "--preset", "fast"]}
    result: dict[str, Any] = {"command": "OMP_NUM_THREADS=1 python bench/arrivals.py --data-root DIR"}
    for name, source in sets.items():
        result[name] = [measure([*source, "--seed", str(seed)], options.work / f"{name}-{seed}") for seed in SEEDS]
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(source: list[str], work: Path) -> dict[str, Any]:
    """All of it on one dataset."""
    shutil.rmtree(work, ignore_errors=True)
    base = [*source, "--methods", "mygo", "--measure.no-dreams"]
    train(*base, "--tasks", "/".join(GROUPS), "--out", work / "whole")
    train(*base, "--tasks", "/".join(GROUPS[:3]), "--out", work / "later")
    train("--extend", work / "later", "--tasks", "/".join(GROUPS[3:]))
    others = [group for place, group in enumerate(GROUPS) if place != FORGOTTEN]
    train(*base, "--tasks", "/".join(others), "--out", work / "never")
    whole, later = (state(work / name) for name in ("whole", "later"))
    before = last_row(work / "whole")
    train("--forget", f"task{FORGOTTEN}", work / "whole")
    after = last_row(work / "whole")
    kept = {key: row[:FORGOTTEN] + row[FORGOTTEN + 1 :] for key, row in before.items()}
    arrival = arrivals_of(load(open_learner(work / "whole").options), "/".join(GROUPS))[FORGOTTEN]
    bundle = [file.name for file in (work / "whole" / "bundle").rglob("*")]
    return {
        "extended_equals_whole": whole.keys() == later.keys()
        and all(torch.equal(value, later[key]) for key, value in whole.items()),
        "accuracy_whole": before,
        "accuracy_extended": last_row(work / "later"),
        "others_before_forgetting": kept,
        "others_after_forgetting": after,
        "largest_loss": {key: max(b - a for a, b in zip(after[key], kept[key], strict=True)) for key in after},
        "files_of_the_task": sum(f"task{FORGOTTEN}" in name for name in bundle),
        "probe_after_forgetting": probe(work / "whole", arrival),
        "probe_never_seen": probe(work / "never", arrival),
        "probe_before_forgetting": probe(work / "later", arrival),
    }


def train(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "mygo_edge.train", *map(str, arguments)], check=True, stdout=sys.stderr)


def state(run: Path) -> dict[str, torch.Tensor]:
    return open_learner(run).method.state()


def last_row(run: Path) -> dict[str, list[float]]:
    methods = json.loads((run / "summary.json").read_text())["methods"]
    return {key: methods["mygo"][key]["matrix"][-1] for key in ("task_known", "task_unknown")}


def probe(run: Path, arrival: Arrival) -> float:
    """Test accuracy of a linear probe for the arrival's classes on the run's features."""
    method = open_learner(run).method
    assert isinstance(method, MyGO)
    assert arrival.test is not None
    features, labels = {}, {}
    for part, split in (("train", arrival.train), ("test", arrival.test)):
        inputs = method.domain.prepare(split.inputs, torch.device("cpu"))
        rows = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[:PROBED]
        features[part] = extract_features(method.net, inputs[rows]).numpy()
        labels[part] = split.labels[rows].numpy()
    fitted = LogisticRegression(max_iter=2000).fit(features["train"], labels["train"])
    return float(fitted.score(features["test"], labels["test"]))


if __name__ == "__main__":
    main()
