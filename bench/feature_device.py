"""What a device with a trunk makes of photos: precisions, "none of these", and tasks learnt there from a few photos.

    python bench/feature_device.py --data-root photos

PHOTOS holds train/ and test/, each with a folder a class. Every repeat takes the classes in another order: the first
seven tenths are learnt on the box, in tasks of two, and published; the rest are what the device has never seen. Vectors
are made once. Writes bench/results/feature_device.json.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import mygo_edge
from mygo_edge.bundle.calibration import Calibration
from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, discriminant
from mygo_edge.bundle.gaussian_files import Precision, read_means, read_shared, write_means, write_shared
from mygo_edge.bundle.reading import read_bundle
from mygo_edge.bundle.rows import ClassRows, row_discriminant
from mygo_edge.device.features import FeatureEngine
from mygo_edge.device.session import SessionOptions
from mygo_edge.export.features import FeatureMemory, publish_features
from mygo_edge.export.storage import chosen_nodes, store_int8
from mygo_edge.export.trunks import photo_trunk_files
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.trunks.catalogue import load_trunk
from mygo_edge.trunks.extract import Extractor
from mygo_edge.trunks.options import TrunkOptions
from mygo_edge.trunks.text import cosines
from mygo_edge.trunks.trunk import Trunk

RESULTS = Path(__file__).parent / "results" / "feature_device.json"
REPEATS = 5  # orders of the classes
DRAWS = 5  # of the photos of a new class
SHOTS = (1, 2, 3, 5, 10, 20)
KNOWN = 0.7  # share of the classes that the box learns
TASK = 2  # classes
_TRUNK_PHOTOS = 20  # of a class, to compare trunks on


@dataclass(frozen=True)
class Vectors:
    """x: [n, features], in the transformed space; labels: [n]."""

    x: NDArray[np.float32]
    labels: NDArray[np.int64]

    def of(self, classes: Sequence[int]) -> "Vectors":
        rows = np.isin(self.labels, classes)
        return Vectors(self.x[rows], self.labels[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with train/ and test/")
    parser.add_argument("--trunk", default="efficientnet-lite0")
    parser.add_argument("--shorter-side", type=int, default=32, help="of the photos, in pixels (default: 32)")
    parser.add_argument("--train", type=int, default=300, help="photos a class (default: 300)")
    parser.add_argument("--test", type=int, default=100, help="photos a class (default: 100)")
    options = parser.parse_args()
    trunk = load_trunk(options.trunk, TrunkOptions(), options.shorter_side)
    classes = sorted(path.name for path in (options.data_root / "train").iterdir())
    train, test = (
        _vectors(trunk, options.data_root / name, classes, most)
        for name, most in (("train", options.train), ("test", options.test))
    )
    repeats = []
    for seed in range(REPEATS):
        repeats.append(_repeat(trunk, classes, train, test, seed))
        print(json.dumps(repeats[-1]), flush=True)
    result = {
        "command": f"python bench/feature_device.py --data-root DIR --train {options.train} --test {options.test}",
        "trunk": options.trunk,
        "classes": len(classes),
        "repeats": REPEATS,
        "draws": DRAWS,
        "device": {
            "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
            "numpy": np.__version__,
            "mygo_edge": mygo_edge.__version__,
        },
        "trunk in int8-weights": _trunk_in_int8(trunk, options.data_root / "test", classes),
        **_summary(repeats),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def _trunk_in_int8(trunk: Trunk, folder: Path, classes: Sequence[str]) -> dict[str, float]:
    """What the trunk's weights in int8, a scale a channel, would save, and how far its vectors would turn."""
    model = onnx.load_from_string(trunk.graph)
    store_int8(model, chosen_nodes(model, ["*"]))
    small = replace(trunk, graph=model.SerializeToString())
    paths = [path for name in classes for path in sorted((folder / name).iterdir())[:_TRUNK_PHOTOS]]
    one, other = (np.concatenate(list(Extractor(each, 1).files(paths))) for each in (trunk, small))
    mean, least = cosines(one, other)
    sizes = {"bytes, fp32": len(trunk.graph), "bytes, int8-weights": len(small.graph)}
    return sizes | {"cosine, mean": round(mean, 4), "cosine, least": round(least, 4), "photos": len(paths)}


def _vectors(trunk: Trunk, folder: Path, classes: Sequence[str], most: int) -> Vectors:
    paths = [sorted((folder / name).iterdir())[:most] for name in classes]
    features = np.concatenate(list(Extractor(trunk, 1).files([path for some in paths for path in some])))
    return Vectors(PowerTransform()(features), np.repeat(np.arange(len(classes)), list(map(len, paths))))


def _repeat(trunk: Trunk, names: Sequence[str], train: Vectors, test: Vectors, seed: int) -> dict[str, Any]:
    order = np.random.default_rng(seed).permutation(len(names))
    known, new = order[: round(KNOWN * len(names))], order[round(KNOWN * len(names)) :]
    memory, names_of = GaussianMemory(PowerTransform(), train.x.shape[1]), []
    for start in range(0, len(known), TASK):
        some = known[start : start + TASK]
        names_of.append([names[index] for index in some])
        own = train.of(some)
        labels = np.array([list(some).index(label) for label in own.labels])
        memory.learn(memory.transform.inverse(own.x), labels, names_of[-1])
        shared = memory.refactor(memory.covariance())
    assert memory.sent is not None
    assert memory.novelty is not None
    learnt = zip(names_of, memory.tasks, memory.sent.tasks, strict=True)
    memories = [FeatureMemory(f"task{number}", *task) for number, task in enumerate(learnt)]
    means, calibration = memory.means, Calibration(memory.temperature, memory.novelty)
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"trunk": photo_trunk_files(trunk), "learner_id": "0" * 32, "sequence": 1}
        publish_features(Path(folder), shared=shared, tasks=memories, calibration=calibration, **how)
        bundle = read_bundle(Path(folder))
    form = bundle.manifest.trunk
    assert form is not None
    engine = FeatureEngine(bundle, form, SessionOptions(), None)
    return {
        "precisions": _precisions(means, shared, test.of(known), known),
        "rows": _rows(memory, test.of(known), known),
        "rejection": _rejection(engine, calibration, test, known),
        "few_shot": _few_shot(engine, names, train, test, known, new),
        "milliseconds": {"classifier": _milliseconds(lambda: discriminant(means, shared))},
    }


def _precisions(means: ClassMeans, shared: Any, test: Vectors, known: NDArray) -> dict[str, Any]:
    """Accuracy among all known classes, agreement with fp32, and bytes, of memories and of shipped classifiers."""

    def row(weight: NDArray, bias: NDArray, size: int) -> dict[str, float]:
        answers = (test.x @ weight.T + bias).argmax(1)
        accuracy, same = np.mean(known[answers] == test.labels), np.mean(answers == exact)
        return {"accuracy": float(accuracy), "agreement": float(same), "bytes": size}

    weight, bias = discriminant(means, shared)
    exact = (test.x @ weight.T + bias).argmax(1)
    found = {}
    for of_means, of_factor in product(get_args(Precision), repeat=2):
        one, other = write_means(means, of_means), write_shared(shared, of_factor)
        stored = read_means(one, "means", weight.shape[1]), read_shared(other, "factor")
        found[f"means {of_means}, factor {of_factor}"] = row(*discriminant(*stored), len(one) + len(other))
    for precision in ("fp16", "int8"):  # what shipping the classifier besides would cost
        data = write_means(ClassMeans(weight, means.counts), precision)
        found[f"classifier {precision}, shipped"] = row(
            read_means(data, "weights", weight.shape[1]).means, bias, len(data) + bias.nbytes
        )
    return found


def _rows(memory: GaussianMemory, test: Vectors, known: NDArray) -> dict[str, Any]:
    """The classifier that is shipped, its values coded in fewer bits than the eight that a bundle has."""
    assert memory.sent is not None
    rows = np.concatenate([task.rows for task in memory.sent.tasks])
    spread, found = memory.sent.covariance.spread, {}
    scale = np.abs(rows).max(1, keepdims=True)
    roots = np.copysign(np.sqrt(np.abs(rows) / scale), rows)  # as `mygo_edge.bundle.rows` codes them
    exact: NDArray | None = None
    for bits in (32, 8, 6, 5, 4):
        levels = 2 ** (bits - 1) - 1
        coded = np.rint(roots * levels) / levels
        values = rows if bits == 32 else (coded * np.abs(coded) * scale).astype(np.float32)
        weight, bias = row_discriminant(memory.means, ClassRows(values, spread))
        answers = (test.x @ weight.T + bias).argmax(1)
        exact = answers if exact is None else exact
        accuracy, same = np.mean(known[answers] == test.labels), np.mean(answers == exact)
        size = rows.size * bits // 8 + 4 * len(rows)
        found[f"{bits} bits"] = {"accuracy": float(accuracy), "agreement": float(same), "bytes": size}
    return found


def _rejection(engine: FeatureEngine, calibration: Calibration, test: Vectors, known: NDArray) -> dict[str, Any]:
    """How well a score tells photos of known classes from others, and what a threshold by dreams, and that of devices
    by images in their wake, does to both.
    """
    tasks, seen = list(engine.published), np.isin(test.labels, known)

    def parts(x: NDArray[np.float32]) -> dict[str, NDArray]:
        scores = engine.score(x, tasks, {})
        evidence = 2 * scores.logits.max(1) * np.float32(calibration.temperature)
        distance = (scores.novelty + evidence) * (x.shape[1] / engine.shared.rank)
        return {"novelty": scores.novelty, "mahalanobis": distance, "largest logit": -evidence}

    dreams = np.concatenate([engine.dream(task, None, 500, _key(step), {}).samples for step, task in enumerate(tasks)])
    dreamt, real = parts(engine.shared.transform(dreams)), parts(test.x)
    found = {}
    thresholds = [(name, name, dreamt[name]) for name in real]
    thresholds.append(("novelty", "novelty, by the wake", calibration.novelty))
    for score_name, name, usual in thresholds:
        score = real[score_name]
        found[name] = {"auroc": float(roc_auc_score(~seen, score))}
        for share in (0.05, 0.01):
            limit = np.quantile(usual, 1 - share)
            rejected = score > limit
            found[name] |= {
                f"known rejected at {share}": float(rejected[seen].mean()),
                f"unknown rejected at {share}": float(rejected[~seen].mean()),
            }
    return found


def _key(step: int) -> Any:
    from mygo_edge.device.engine import CALIBRATION_STREAM, Key

    return Key(0, CALIBRATION_STREAM, step)


def _few_shot(
    engine: FeatureEngine, names: Sequence[str], train: Vectors, test: Vectors, known: NDArray, new: NDArray
) -> dict[str, Any]:
    """Accuracies after the device learnt the new classes as one task from so many photos of each."""
    old = list(engine.published)
    labels = [label for task in old for label in engine.published[task].classes]
    of_old, of_new = test.of(known), test.of(new)

    def accuracy(part: Vectors, tasks: Sequence[str], columns: Sequence[str], learnt: dict[str, Any]) -> float:
        answers = engine.score(part.x, tasks, learnt).logits.argmax(1)
        return float(
            np.mean([columns[column] == names[label] for column, label in zip(answers, part.labels, strict=True)])
        )

    found: dict[str, Any] = {"before": {"old, unknown": accuracy(of_old, old, labels, {})}}
    for shots in SHOTS:
        draws = []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            rows = np.concatenate([rng.permutation(np.flatnonzero(train.labels == label))[:shots] for label in new])
            task = engine.remember("new", train.x[rows], [names[label] for label in train.labels[rows]])
            every = [*labels, *task.classes]
            draws.append(
                {
                    "new, known": accuracy(of_new, ["new"], task.classes, {"new": task}),
                    "new, unknown": accuracy(of_new, [*old, "new"], every, {"new": task}),
                    "old, unknown": accuracy(of_old, [*old, "new"], every, {"new": task}),
                }
            )
        found[str(shots)] = {key: float(np.mean([draw[key] for draw in draws])) for key in draws[0]}
    return found


def _milliseconds(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(20):
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return float(np.median(times)) * 1e3


def _summary(repeats: list[Any]) -> Any:
    """Mean and standard deviation over repeats of every number, in the same places."""
    if isinstance(repeats[0], dict):
        return {key: _summary([each[key] for each in repeats]) for key in repeats[0]}
    return {"mean": round(float(np.mean(repeats)), 4), "std": round(float(np.std(repeats)), 4)}


if __name__ == "__main__":
    main()
