"""The fifth task of Split-MNIST learnt on a device, against the box that learns it in a wake and a sleep.

    python bench/device_head.py RUN/bundle --data-root DIR

RUN is a finished run on MNIST with five tasks (`python -m bench.mnist --only best-seed0`): its bundle still holds the
version of four tasks, on which the head is learnt from a few training images, and the version of five, which the box
made of all 11,800 of them. Both are tested on the 10,000 test images. Writes bench/results/device_head.json.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import mygo_edge
from mygo_edge import EdgeModel, TrainOptions
from mygo_edge.bundle.heads import head_bytes
from mygo_edge.data.datasets import load

RESULTS = Path(__file__).parent / "results" / "device_head.json"
IMAGES = (5, 10, 20, 100, 1000)  # a class
REPEATS = 5  # draws of the images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="the bundle of a finished run of five tasks")
    parser.add_argument("--data-root", type=Path, required=True, help="folder with MNIST/raw")
    options = parser.parse_args()
    dataset = load(TrainOptions(dataset="mnist", data_root=options.data_root))
    before, after = (EdgeModel.load(options.bundle, version=version) for version in ("v0004", "v0005"))
    names = dict(after.tasks)
    new = next(name for name in names if name not in before.tasks)
    owner = {dataset.classes.index(label): task for task, labels in names.items() for label in labels}
    parts = [(split.inputs.numpy(), split.labels.numpy()) for split in (dataset.train, dataset.test)]

    rows = []
    for images in IMAGES:
        found = [_learn(options.bundle, new, images, seed, *parts, owner, dataset.classes) for seed in range(REPEATS)]
        rows.append({"images_a_class": images, **{key: _spread([one[key] for one in found]) for key in found[0]}})
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python bench/device_head.py RUN/bundle --data-root DIR",
        "repeats": REPEATS,
        "device": {
            "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "mygo_edge": mygo_edge.__version__,
        },
        "before": _accuracies(before, new, parts[1], owner, dataset.classes),
        "device_head": rows,
        "box": _accuracies(after, new, parts[1], owner, dataset.classes),
    }
    print(json.dumps(result["box"]))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def _learn(
    bundle: Path,
    task: str,
    images: int,
    seed: int,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    owner: dict[int, str],
    classes: list[str],
) -> dict[str, float]:
    """Accuracies after learning the task from so many images a class, drawn by `seed`."""
    rng = np.random.default_rng(1000 + seed)
    wanted = [label for label, name in owner.items() if name == task]
    drawn = np.concatenate([rng.choice(np.flatnonzero(train[1] == label), images, replace=False) for label in wanted])
    with tempfile.TemporaryDirectory() as folder:
        model = EdgeModel.load(bundle, version="v0004", heads=folder)
        started = time.perf_counter()
        head = model.learn_head(task, train[0][drawn], [classes[label] for label in train[1][drawn]])
        seconds = time.perf_counter() - started
        accuracies = _accuracies(EdgeModel.load(bundle, version="v0004", heads=folder), task, test, owner, classes)
    return {**accuracies, "seconds": seconds, "bytes": len(head_bytes(head))}


def _accuracies(
    model: EdgeModel,
    new: str,
    test: tuple[np.ndarray, np.ndarray],
    owner: dict[int, str],
    classes: list[str],
) -> dict[str, float]:
    """Fractions of the test images: means over tasks, as everywhere."""
    images, labels = test
    truth = np.array([classes[label] for label in labels])
    unknown = np.array(model.predict(images)) == truth
    of_task: Callable[[str], Any] = lambda name: np.array([owner[int(label)] == name for label in labels])  # noqa: E731
    share = {name: float(unknown[of_task(name)].mean()) for name in model.tasks}
    old = [name for name in model.tasks if name != new]
    found = {"old_tasks_unknown": float(np.mean([share[name] for name in old]))}
    if new in model.tasks:
        known = np.array(model.predict(images[of_task(new)], new)) == truth[of_task(new)]
        found |= {"new_task_known": float(known.mean()), "new_task_unknown": share[new]}
        found["all_tasks_unknown"] = float(np.mean(list(share.values())))
    return found


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values))}


if __name__ == "__main__":
    main()
