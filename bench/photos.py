"""The measurements behind docs/photos.md: photos in the feature space of a trunk, beside rivals on the same features.

    OMP_NUM_THREADS=1 python bench/photos.py NAME=FOLDER[,PER_CLASS] [--orders 3] [--tasks 5]

A folder holds train/CLASS and test/CLASS. PER_CLASS takes the first so many training photos of each class. Each order
shuffles the classes. Features are made once and kept nowhere. Writes bench/results/photos/NAME.json.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mygo_edge.bundle.gaussian import ClassMeans, SharedFactor, discriminant, join, mahalanobis
from mygo_edge.bundle.gaussian_files import read_means, read_shared, write_means, write_shared
from mygo_edge.learn.gaussian_memory import GaussianMemory, transform_for
from mygo_edge.learn.rivals import FeCAM, Finetune, Joint, NearestMean, RanPAC, Rival, StreamingLDA
from mygo_edge.trunks.catalogue import load_trunk
from mygo_edge.trunks.extract import Extractor
from mygo_edge.trunks.options import TrunkOptions

RESULTS = Path(__file__).parent / "results" / "photos"
SHOTS = (1, 2, 5)
Set = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # features and labels, for training and for test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="NAME=FOLDER[,PER_CLASS]")
    parser.add_argument("--trunk", default="efficientnet-lite0")
    parser.add_argument("--size", type=int, help="pixels of the trunk's input (default: by the photos' size)")
    parser.add_argument("--orders", type=int, default=3, help="shuffles of the classes")
    parser.add_argument("--tasks", type=int, default=5)
    options = parser.parse_args()
    name, folder, per_class = parsed(options.set)
    data, about = features(folder, per_class, options.trunk, options.size)
    orders = [order(data, seed, options.tasks) for seed in range(options.orders)]
    versions = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__, "python": platform.python_version()}
    result = {
        "command": f"OMP_NUM_THREADS=1 python bench/photos.py {named(options.set)} --tasks {options.tasks}",
        "name": name,
        "trunk": options.trunk,
        "versions": versions,
        **about,
        "tasks": options.tasks,
        "orders": orders,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(name, {key: averages(orders, key) for key in orders[0]["methods"]}, flush=True)


def parsed(part: str) -> tuple[str, Path, int | None]:
    """Name, folder and training photos a class of a set's argument."""
    name, where = part.split("=", 1)
    folder, _, per_class = where.partition(",")
    return name, Path(folder), int(per_class) if per_class else None


def named(part: str) -> str:
    """A set's argument without the paths of this machine."""
    name, where = part.split("=", 1)
    return f"{name}=DIR" + where[len(where.partition(",")[0]) :]


def averages(orders: list[dict], method: str) -> str:
    """Known / unknown after the last task, in percent."""
    return " / ".join(
        f"{100 * np.mean([one['methods'][method][key] for one in orders]):.1f}" for key in ("known", "unknown")
    )


def features(folder: Path, per_class: int | None, trunk_name: str, size: int | None) -> tuple[Set, dict[str, Any]]:
    """Features of a folder's photos by class, and what they cost."""
    from PIL import Image

    classes = sorted(child.name for child in (folder / "train").iterdir() if child.is_dir())
    files = {
        part: [sorted((folder / part / name).iterdir())[: per_class if part == "train" else None] for name in classes]
        for part in ("train", "test")
    }
    sides = [min(Image.open(own[0]).size) for own in files["train"]]
    trunk = load_trunk(trunk_name, TrunkOptions(size=size), int(np.median(sides)))
    extractor = Extractor(trunk, threads=1)
    made, seconds = {}, 0.0
    for part, by_class in files.items():
        start = time.perf_counter()
        paths = [path for own in by_class for path in own]
        made[part] = np.concatenate(list(extractor.files(paths)))
        if part == "train":
            seconds = time.perf_counter() - start
    labels = {part: np.repeat(np.arange(len(classes)), [len(own) for own in files[part]]) for part in files}
    about = {
        "classes": len(classes),
        "train": len(made["train"]),
        "test": len(made["test"]),
        "shorter_side": int(np.median(sides)),
        "input": trunk.form.size[0],
        "features": trunk.features,
        "trunk_bytes": len(trunk.graph),
        "seconds_trunk": seconds,
    }
    return (made["train"], labels["train"], made["test"], labels["test"]), about


def order(data: Set, seed: int, tasks: int) -> dict[str, Any]:
    """All methods over the tasks of one order of the classes."""
    x, y, test_x, test_y = data
    classes = int(y.max()) + 1
    position = np.empty(classes, np.int64)
    position[np.random.default_rng(seed).permutation(classes)] = np.arange(classes)
    y, test_y = position[y], position[test_y]
    data = (x, y, test_x, test_y)
    groups = np.array_split(np.arange(classes), tasks)
    width = x.shape[1]
    rivals: dict[str, Callable[[], Rival]] = {
        "finetune": lambda: Finetune(seed),
        "ncm": NearestMean,
        "slda": StreamingLDA,
        "fecam": FeCAM,
        "ranpac": lambda: RanPAC(width, seed=seed),
        "joint": lambda: Joint(seed),
    }
    methods = {"mygo": mygo(x, y, test_x, test_y, groups)}
    for name, make in rivals.items():
        methods[name] = rival(make(), x, y, test_x, test_y, groups)
    earlier = GaussianMemory(transform_for(x[np.isin(y, groups[0])]), width)
    for group in groups[:-1]:
        own = np.isin(y, group)
        earlier.learn(x[own], y[own] - group[0], [str(label) for label in group])
    shared = earlier.refactor(earlier.covariance())
    return {
        "seed": seed,
        "methods": methods,
        "shots": {str(n): few_shot(earlier, shared, data, groups, n, seed) for n in SHOTS},
        "rejection": rejection(earlier, shared, test_x, test_y >= groups[-1][0]),
    }


def accuracies(logits: np.ndarray, labels: np.ndarray, groups: list[np.ndarray]) -> dict[str, float]:
    """With the task known and unknown, over the images of the tasks so far."""
    task = np.repeat(np.arange(len(groups)), [len(group) for group in groups])[: logits.shape[1]]
    heads = np.where(task == task[labels][:, None], logits, -np.inf)
    return {
        "known": float((heads.argmax(1) == labels).mean()),
        "unknown": float((logits.argmax(1) == labels).mean()),
    }


def mygo(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, groups: list[np.ndarray]) -> dict:
    """Task after task: curve of accuracies, seconds of each part, bytes of each file."""
    memory = GaussianMemory(transform_for(x[np.isin(y, groups[0])]), x.shape[1])
    curve, device, seconds, factors = [], [], {"wake": 0.0, "sleep": 0.0, "factor": 0.0}, []
    for group in groups:
        own = np.isin(y, group)
        start = time.perf_counter()
        memory.learn(x[own], y[own] - group[0], [str(label) for label in group])
        awake = time.perf_counter()
        covariance = memory.covariance()
        weight, bias = memory.sleep(covariance)
        slept = time.perf_counter()
        shared = memory.refactor(covariance)
        seconds["wake"] += awake - start
        seconds["sleep"] += slept - awake
        seconds["factor"] += time.perf_counter() - slept
        factors.append(memory.factor_version)
        seen = test_y <= group[-1]
        vectors = memory.transform(test_x[seen])
        curve.append(accuracies(vectors @ weight.T + bias, test_y[seen], groups))
        # What a device computes for itself, from the files it gets.
        kept = read_shared(write_shared(shared, "int8"), "factor")
        means = [read_means(write_means(task, "int8"), "means", x.shape[1]) for task in memory.tasks]
        own_weight, own_bias = discriminant(join(means), kept)
        device.append(accuracies(vectors @ own_weight.T + own_bias, test_y[seen], groups))
    means_bytes = [len(write_means(task, "int8")) for task in memory.tasks]
    return curve[-1] | {
        "curve": curve,
        "device": device[-1],
        "seconds": seconds,
        "strength": memory.strength.best,
        "shrinkage": covariance.shrunk.shrinkage,
        "factor_versions": factors,
        "bytes": sum(means_bytes) + len(write_shared(shared, "int8")) + weight.size,
        "bytes_means": sum(means_bytes),
        "bytes_factor": len(write_shared(shared, "int8")),
        "bytes_classifier": weight.size + 8 * len(weight),
    }


def rival(
    method: Rival, x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, groups: list[np.ndarray]
) -> dict[str, Any]:
    """Accuracies after the last task, seconds with its answers, and bytes."""
    start = time.perf_counter()
    for group in groups:
        own = np.isin(y, group)
        method.learn(x[own], y[own])
    logits = method.logits(test_x)
    seconds = time.perf_counter() - start
    return accuracies(logits, test_y, groups) | {"seconds": seconds, "bytes": method.bytes}


def few_shot(
    memory: GaussianMemory, shared: SharedFactor, data: Set, groups: list[np.ndarray], shots: int, seed: int
) -> dict[str, float]:
    """A device that has all tasks but the last learns that from `shots` photos a class, with the shared factor."""
    x, y, test_x, test_y = data
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(y == label))[:shots] for label in groups[-1]]
    means = np.stack([memory.transform(x[own]).mean(0) for own in rows])
    new = ClassMeans(means, np.array([len(own) for own in rows]))
    weight, bias = discriminant(join([*memory.tasks, new]), shared)
    logits = memory.transform(test_x) @ weight.T + bias
    fresh = test_y >= groups[-1][0]
    return {
        "new_known": accuracies(logits[fresh], test_y[fresh], groups)["known"],
        "new_unknown": accuracies(logits[fresh], test_y[fresh], groups)["unknown"],
        "old_unknown": accuracies(logits[~fresh], test_y[~fresh], groups)["unknown"],
    }


def rejection(
    memory: GaussianMemory, shared: SharedFactor, test_x: np.ndarray, foreign: np.ndarray
) -> dict[str, float]:
    """AUROC of scores that tell photos of the last task, which was never learnt, from those of tasks that were."""
    from sklearn.metrics import roc_auc_score

    vectors = memory.transform(test_x)
    distances = mahalanobis(vectors, memory.means, shared)
    centre = ClassMeans(memory.means.means.mean(0, keepdims=True), np.array([1]))
    away = mahalanobis(vectors, centre, shared)[:, 0]
    weight, bias = discriminant(memory.means, shared)
    logits = vectors @ weight.T + bias
    scores = {
        "distance": distances.min(1),
        "relative_distance": distances.min(1) - away,
        "largest_logit": -logits.max(1),
    }
    return {name: float(roc_auc_score(foreign, score)) for name, score in scores.items()}


if __name__ == "__main__":
    main()
