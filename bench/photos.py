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
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mygo_edge.bundle.gaussian import (
    ClassMeans,
    PowerTransform,
    Precision,
    SharedFactor,
    discriminant,
    dreams,
    join,
    mahalanobis,
    novelty,
)
from mygo_edge.bundle.gaussian_files import read_means, read_shared, write_means, write_shared
from mygo_edge.bundle.prior import prior_logits
from mygo_edge.bundle.rows import join_rows, row_discriminant, stored, write_rows
from mygo_edge.bundle.wake_head import settled, stored_head, write_head
from mygo_edge.device.few_shot import FewShot
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.learn.features.rivals import FeCAM, Finetune, Joint, NearestMean, RanPAC, Rival, StreamingLDA
from mygo_edge.learn.features.shared_covariance import SharedCovariance, Shrunk, shrink
from mygo_edge.trunks.catalogue import load_trunk
from mygo_edge.trunks.extract import Extractor
from mygo_edge.trunks.options import TrunkOptions

RESULTS = Path(__file__).parent / "results" / "photos"
SHOTS = (1, 2, 5)
ORDERS = 3
Set = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # features and labels, for training and for test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="NAME=FOLDER[,PER_CLASS]")
    parser.add_argument("--trunk", default="efficientnet-lite0")
    parser.add_argument("--size", type=int, help="pixels of the trunk's input (default: by the photos' size)")
    parser.add_argument("--orders", type=int, default=ORDERS, help="shuffles of the classes")
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--draw", type=int, help="so many training photos of each class, others for each order")
    parser.add_argument("--ours", action="store_true", help="ours alone, and keep the rivals' results of the same set")
    parser.add_argument("--resplit", action="store_true", help="other photos for training and test for each order")
    options = parser.parse_args()
    import_module("scipy.optimize")  # half a second, once, which a run pays before its first wake, too
    name, folder, per_class = parsed(options.set)
    data, about = features(folder, per_class, options.trunk, options.size)
    splits = [resplit(data, seed) if options.resplit else data for seed in range(options.orders)]
    before = json.loads((RESULTS / f"{name}.json").read_text())["orders"] if options.ours else [None] * len(splits)
    orders = [
        order(drawn(split, options.draw, seed), seed, options.tasks, kept and kept["methods"])
        for seed, (split, kept) in enumerate(zip(splits, before, strict=True))
    ]
    if options.draw:
        about["train"] = options.draw * about["classes"]
    versions = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__, "python": platform.python_version()}
    result = {
        "command": f"OMP_NUM_THREADS=1 python bench/photos.py {named(options.set)} --tasks {options.tasks}"
        + (f" --size {options.size}" if options.size else "")
        + (f" --draw {options.draw}" if options.draw else "")
        + (" --resplit" if options.resplit else "")
        + (f" --orders {options.orders}" if options.orders != ORDERS else ""),
        "name": name,
        "trunk": options.trunk,
        "versions": versions,
        **about,
        "tasks": options.tasks,
        "resplit": options.resplit,
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


def files_of(folder: Path, per_class: int | None) -> dict[str, list[list[Path]]]:
    """Of "train" and "test", the files of each class."""
    classes = sorted(child.name for child in (folder / "train").iterdir() if child.is_dir())
    return {
        part: [sorted((folder / part / name).iterdir())[: per_class if part == "train" else None] for name in classes]
        for part in ("train", "test")
    }


def features(folder: Path, per_class: int | None, trunk_name: str, size: int | None) -> tuple[Set, dict[str, Any]]:
    """Features of a folder's photos by class, and what they cost."""
    from PIL import Image

    files = files_of(folder, per_class)
    sides = [min(Image.open(path).size) for own in files["train"] for path in own]
    trunk = load_trunk(trunk_name, TrunkOptions(size=size), int(np.median(sides)))
    extractor = Extractor(trunk, threads=1)
    made, seconds = {}, 0.0
    for part, by_class in files.items():
        start = time.process_time()
        paths = [path for own in by_class for path in own]
        made[part] = np.concatenate(list(extractor.files(paths)))
        if part == "train":
            seconds = time.process_time() - start
    labels = {part: np.repeat(np.arange(len(files[part])), [len(own) for own in files[part]]) for part in files}
    about = {
        "classes": len(files["train"]),
        "train": len(made["train"]),
        "test": len(made["test"]),
        "shorter_side": int(np.median(sides)),
        "input": trunk.form.size[0],
        "features": trunk.features,
        "trunk_bytes": len(trunk.graph),
        "seconds_trunk": seconds,
    }
    return (made["train"], labels["train"], made["test"], labels["test"]), about


def drawn(data: Set, count: int | None, seed: int) -> Set:
    """With so many of the training photos of each class, drawn at random; with all where it is None."""
    if count is None:
        return data
    x, y, *test = data
    rng = np.random.default_rng(seed)
    kept = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:count] for label in range(int(y.max()) + 1)])
    return x[kept], y[kept], test[0], test[1]


def resplit(data: Set, seed: int) -> Set:
    """With the photos of each class dealt anew to training and test, as many to each as before."""
    x, y, test_x, test_y = data
    photos, labels = np.concatenate([x, test_x]), np.concatenate([y, test_y])
    mixed = np.random.default_rng(seed).permutation(len(labels))
    mixed = mixed[np.argsort(labels[mixed], kind="stable")]  # by class, shuffled within
    place = np.arange(len(mixed)) - np.searchsorted(labels[mixed], labels[mixed])
    train = place < np.bincount(y)[labels[mixed]]
    first = place < np.bincount(y)[labels[mixed]]
    train, test = mixed[first], mixed[~first]
    return photos[train], labels[train], photos[test], labels[test]


def order(data: Set, seed: int, tasks: int, kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """All methods over the tasks of one order of the classes; of rivals, what was kept of the same order."""
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
        methods[name] = kept[name] if kept else rival(make(), x, y, test_x, test_y, groups)
    earlier = GaussianMemory(PowerTransform.of(x[np.isin(y, groups[0])]), width)
    for group in groups[:-1]:
        own = np.isin(y, group)
        earlier.learn(x[own], y[own] - group[0], [str(label) for label in group])
        shared = earlier.refactor(earlier.covariance())
    return {
        "seed": seed,
        "methods": methods,
        "shots": {str(n): few_shot(earlier, shared, data, groups, n, seed) for n in SHOTS},
        "rejection": rejection(earlier, shared, test_x, test_y >= groups[-1][0]),
        "shrinkage": shrinkages(data, groups),
    }


def accuracies(logits: np.ndarray, labels: np.ndarray, groups: list[np.ndarray]) -> dict[str, float]:
    """With the task known and unknown, over the images of the tasks so far; balanced: unknown, the mean of classes, so
    that each counts alike however many images it has.
    """
    task = np.repeat(np.arange(len(groups)), [len(group) for group in groups])[: logits.shape[1]]
    heads = np.where(task == task[labels][:, None], logits, -np.inf)
    right = logits.argmax(1) == labels
    return {
        "known": float((heads.argmax(1) == labels).mean()),
        "unknown": float(right.mean()),
        "balanced": float(np.mean([right[labels == label].mean() for label in np.unique(labels)])),
    }


def mygo(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, groups: list[np.ndarray]) -> dict:
    """Task after task: curve of accuracies, seconds of each part, bytes of each file."""
    memory = GaussianMemory(PowerTransform.of(x[np.isin(y, groups[0])]), x.shape[1])
    curve, seconds = [], {"wake": 0.0, "sleep": 0.0, "factor": 0.0}
    factors, rows_sent = [], []
    for group in groups:
        own = np.isin(y, group)
        features, before = x[own], memory.sent
        start = time.process_time()
        memory.learn(features, y[own] - group[0], [str(label) for label in group])
        awake = time.process_time()
        covariance = memory.covariance()
        weight, bias = memory.sleep(covariance)
        slept = time.process_time()
        shared = memory.refactor(covariance, weight)
        seconds["wake"] += awake - start
        seconds["sleep"] += slept - awake
        seconds["factor"] += time.process_time() - slept
        factors.append(memory.factor_version)
        rows_sent.append(memory.sent is not before)
        seen = test_y <= group[-1]
        vectors = memory.transform(test_x[seen])
        prior = prior_logits(memory.means.counts, memory.prior_weight)
        widths = [len(task.counts) for task in memory.tasks]
        together = (vectors @ weight.T + bias + prior).astype(np.float32)
        how = (memory.temperature, widths, prior)
        curve.append(accuracies(settled(together, vectors, memory.heads, *how), test_y[seen], groups))
    evenly = settled((vectors @ weight.T + bias).astype(np.float32), vectors, memory.heads, *how[:2])
    # What a device answers from the files it gets: by rows, or computed of means and factor.
    assert memory.sent is not None
    means = join([read_means(write_means(task, "int8"), "means", x.shape[1]) for task in memory.tasks])
    row_weight, row_bias = row_discriminant(means, join_rows([stored(task) for task in memory.sent.tasks]))
    computed = discriminant(means, read_shared(write_shared(shared, "int8"), "factor"))
    heads = [head and stored_head(head) for head in memory.heads]
    by_rows = settled((vectors @ row_weight.T + row_bias + prior).astype(np.float32), vectors, heads, *how)
    rows_bytes = sum(len(write_rows(task)) for task in memory.sent.tasks)
    rows_bytes += sum(len(write_head(head)) for head in memory.heads if head is not None)
    means_bytes = [len(write_means(task, "int8")) for task in memory.tasks]
    return curve[-1] | {
        "curve": curve,
        "equally_likely": accuracies(evenly, test_y, groups),  # --sleep.prior 0, but for its temperature
        "device": accuracies(by_rows, test_y, groups),
        "device_computed": accuracies(vectors @ computed[0].T + computed[1] + prior, test_y, groups),
        "calibration_error": {
            "temperature": memory.temperature,
            "before": calibration_error(by_rows, test_y),
            "after": calibration_error(by_rows / memory.temperature, test_y),
        },
        "seconds": seconds,
        "heads": sum(head is not None for head in memory.heads),
        "strength": memory.strength.best,
        "shrinkage": covariance.shrunk.shrinkage,
        "prior": memory.prior_weight,
        "factor_versions": factors,
        "rows_sent": rows_sent,
        "bytes": sum(means_bytes) + len(write_shared(shared, "int8")) + rows_bytes,
        "bytes_learner": sum(value.nbytes for value in memory.state().values()),
        "bytes_means": sum(means_bytes),
        "bytes_factor": len(write_shared(shared, "int8")),
        "bytes_classifier": rows_bytes,
    }


def calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: how far the share of right answers lies from the probability that they were given."""
    scaled = np.exp(logits - logits.max(1, keepdims=True))
    surest = (scaled / scaled.sum(1, keepdims=True)).max(1)
    right, which = logits.argmax(1) == labels, np.minimum((surest * bins).astype(int), bins - 1)
    gaps = [abs(surest[which == one].mean() - right[which == one].mean()) * (which == one).mean() for one in set(which)]
    return float(sum(gaps))


def shrinkages(data: Set, groups: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """What the analytic shrinkage of Ledoit & Wolf gives, and the default, beside the one that leaving out chooses."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    x, y, test_x, test_y = data
    memory = GaussianMemory(PowerTransform.of(x), x.shape[1], rows=False)
    for group in groups:
        own = np.isin(y, group)
        memory.learn(x[own], y[own] - group[0], [str(label) for label in group])
    vectors, means = memory.transform(test_x), memory.means
    chosen, default = shrink(memory.pooled, memory.strength.best), shrink(memory.pooled, 1.0)
    rest = (memory.transform(x) - means.means[y]) / np.sqrt(chosen.target)  # the target is the identity there
    analytic = Shrunk(chosen.estimate, chosen.target, float(ledoit_wolf_shrinkage(rest, assume_centered=True)))
    found = {}
    for name, shrunk in (("leaving out", chosen), ("default", default), ("Ledoit-Wolf", analytic)):
        weight, bias = SharedCovariance(shrunk, memory.transform).discriminant(means)
        found[name] = accuracies(vectors @ weight.T + bias, test_y, groups) | {"shrinkage": shrunk.shrinkage}
    return found


def rival(
    method: Rival, x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, groups: list[np.ndarray]
) -> dict[str, Any]:
    """Accuracies after the last task, seconds with its answers, and bytes."""
    start = time.process_time()
    for group in groups:
        own = np.isin(y, group)
        method.learn(x[own], y[own])
    logits = method.logits(test_x)
    seconds = time.process_time() - start
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
    assert memory.sent is not None
    weight, bias = memory.sent.discriminant(memory.tasks)
    centre = memory.means.means.mean(0)
    new_weight, new_bias = FewShot(memory.means, shared, centre, weight).head(new)
    vectors = memory.transform(test_x)
    bias = bias + prior_logits(memory.means.counts, memory.prior_weight)
    logits = np.concatenate([vectors @ weight.T + bias, vectors @ new_weight.T + new_bias], 1)
    fresh = test_y >= groups[-1][0]
    return {
        "new_known": accuracies(logits[fresh], test_y[fresh], groups)["known"],
        "new_unknown": accuracies(logits[fresh], test_y[fresh], groups)["unknown"],
        "old_unknown": accuracies(logits[~fresh], test_y[~fresh], groups)["unknown"],
    }


def rejection(
    memory: GaussianMemory, shared: SharedFactor, test_x: np.ndarray, foreign: np.ndarray
) -> dict[str, dict[str, float]]:
    """How scores tell photos of the last task, which was never learnt, from those of tasks that were: AUROC, and what
    thresholds refuse that dreams, or images in their wake, exceed by a share.
    """
    from sklearn.metrics import roc_auc_score

    assert memory.sent is not None
    assert memory.novelty is not None
    precision, means = Precision(shared), memory.means
    weight, bias = memory.sent.discriminant(memory.tasks)

    def scores(vectors: np.ndarray) -> dict[str, np.ndarray]:
        nearest = mahalanobis(vectors, means, shared, precision).min(1)
        largest = (vectors @ weight.T + bias).max(1)
        return {"both": novelty(nearest, largest, shared), "distance": nearest, "largest_logit": -largest}

    rng, n = np.random.default_rng(0), 2000
    z, noise = (rng.standard_normal((n, width), np.float32) for width in (shared.rank, len(shared.diagonal)))
    dreamt = scores(dreams(means, shared, z, noise, rng.integers(0, len(means.counts), n)))["both"]
    real = scores(memory.transform(test_x))
    found = {name: {"auroc": float(roc_auc_score(foreign, score))} for name, score in real.items()}
    for name, usual in (("by_dreams", dreamt), ("by_wake", memory.novelty)):
        for share in (0.05, 0.01):
            refused = real["both"] > np.quantile(usual, 1 - share)
            found[f"{name}_{share}"] = {
                "known": float(refused[~foreign].mean()),
                "unknown": float(refused[foreign].mean()),
            }
    return found


if __name__ == "__main__":
    main()
