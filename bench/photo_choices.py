"""What the trunk's size of input and the power of the features are worth, for docs/photos.md.

    OMP_NUM_THREADS=1 python -m bench.photo_choices NAME=FOLDER[,PER_CLASS] ... [--orders 3] [--tasks 5]

Sets as bench/photos.py takes them, each with the photos that its folder has for training and test. Writes
bench/results/photo_choices.json.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench import photos
from mygo_edge.bundle.gaussian import PowerTransform

RESULTS = Path(__file__).parent / "results" / "photo_choices.json"
SIZES, POWERS = (160, 224), (0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER[,PER_CLASS]")
    parser.add_argument("--trunk", default="efficientnet-lite0")
    parser.add_argument("--orders", type=int, default=3, help="shuffles of the classes")
    parser.add_argument("--tasks", type=int, default=5)
    options = parser.parse_args()
    found = {}
    for one in options.sets:
        name, folder, per_class = photos.parsed(one)
        found[name] = {str(size): of_size(folder, per_class, size, options) for size in SIZES}
        print(name, found[name], flush=True)
    sets = " ".join(map(photos.named, options.sets))
    command = f"OMP_NUM_THREADS=1 python -m bench.photo_choices {sets}"
    command += f" --orders {options.orders}" if options.orders != parser.get_default("orders") else ""
    command += f" --tasks {options.tasks}" if options.tasks != parser.get_default("tasks") else ""
    RESULTS.write_text(json.dumps({"command": command, "trunk": options.trunk, "sets": found}, indent=1) + "\n")


def of_size(folder: Path, per_class: int | None, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Accuracies by power, means over the orders, and the seconds that the trunk takes for the training photos."""
    data, about = photos.features(folder, per_class, options.trunk, size)
    found: dict[str, Any] = {"seconds_trunk": about["seconds_trunk"], "shorter_side": about["shorter_side"]}
    for power in POWERS:
        with patch.object(PowerTransform, "of", partial(PowerTransform.of, power=power)):
            orders = [ours(data, seed, options.tasks) for seed in range(options.orders)]
        found[str(power)] = {key: float(np.mean([one[key] for one in orders])) for key in ("known", "unknown")}
    return found


def ours(data: photos.Set, seed: int, tasks: int) -> dict[str, float]:
    """MyGO's accuracies after the last task of one order of the classes."""
    x, y, test_x, test_y = data
    classes = int(y.max()) + 1
    position = np.empty(classes, np.int64)
    position[np.random.default_rng(seed).permutation(classes)] = np.arange(classes)
    groups = np.array_split(np.arange(classes), tasks)
    found = photos.mygo(x, position[y], test_x, position[test_y], groups)
    return {key: found[key] for key in ("known", "unknown")}


if __name__ == "__main__":
    main()
