"""What updates bring to devices where classes become hundreds, and what devices answer then, for docs/photos.md.

    OMP_NUM_THREADS=1 python -m bench.photo_updates NAME=FOLDER[,PER_CLASS] [--tasks 24]

Tasks of a shuffled order of the classes are learnt and published one after another; an update is the files that differ
from those of the version before. Besides: what devices would answer with all rows anew, with rows that stay,
and with a classifier computed from means and factor. Writes bench/results/photo_updates.json.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.photos import RESULTS, accuracies, features, named, parsed
from mygo_edge.bundle.correction import corrected, read_correction
from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, discriminant, join
from mygo_edge.bundle.gaussian_files import read_means, read_shared
from mygo_edge.bundle.reading import Bundle, read_bundle
from mygo_edge.bundle.rows import join_rows, read_rows, row_discriminant, stored
from mygo_edge.export.features import FeatureMemory, publish_features
from mygo_edge.export.trunks import photo_trunk_files
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.learn.features.sent_rows import SentRows
from mygo_edge.trunks.catalogue import load_trunk
from mygo_edge.trunks.options import TrunkOptions

RESULT = RESULTS.parent / "photo_updates.json"
ROLES = ("generator", "rows", "correction", "factor")  # the others are part of every update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="NAME=FOLDER[,PER_CLASS]")
    parser.add_argument("--tasks", type=int, default=24)
    options = parser.parse_args()
    name, folder, per_class = parsed(options.set)
    (x, y, test_x, test_y), about = features(folder, per_class, "efficientnet-lite0", None)
    place = np.random.default_rng(0).permutation(about["classes"]).argsort()
    updates = learnt((x, place[y], test_x, place[test_y]), options.tasks, about["input"])
    result = {
        "command": f"OMP_NUM_THREADS=1 python -m bench.photo_updates {named(options.set)} --tasks {options.tasks}",
        "name": name,
        **{key: about[key] for key in ("classes", "train", "test")},
        "tasks": options.tasks,
        "updates": updates,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def learnt(data: tuple[np.ndarray, ...], tasks: int, size: int) -> list[dict[str, Any]]:
    """Of each task's update: its bytes by role, and accuracies after it."""
    x, y, test_x, test_y = data
    groups = np.array_split(np.arange(y.max() + 1), tasks)
    trunk = photo_trunk_files(load_trunk("efficientnet-lite0", TrunkOptions(size=size), size))
    memory, old = GaussianMemory(PowerTransform.of(x[np.isin(y, groups[0])]), x.shape[1]), None
    before: dict[str, str] = {}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, group in enumerate(groups):
            own, sent = np.isin(y, group), memory.sent
            memory.learn(x[own], y[own] - group[0], [str(label) for label in group])
            covariance = memory.covariance()
            box = memory.sleep(covariance)
            shared = memory.refactor(covariance, box[0])
            assert memory.sent is not None
            parts = zip(groups, memory.tasks, memory.sent.tasks, strict=False)
            memories = [
                FeatureMemory(f"task{index}", [f"class {label}" for label in labels], means, rows)
                for index, (labels, means, rows) in enumerate(parts)
            ]
            publish_features(
                Path(folder), trunk=trunk, shared=shared, tasks=memories, learner_id="0" * 32, sequence=number
            )
            bundle = read_bundle(Path(folder))
            spent = fresh(bundle, before, Path(folder))
            if old is None or (memory.sent is not sent and "correction" not in spent):
                old = SentRows.of(memory.sent.covariance, memory.tasks)
            old.extend(memory.tasks)
            seen = test_y <= group[-1]
            vectors = memory.transform(test_x[seen])
            ways = {"box": box} | device_ways(bundle, memory, old)
            answers = {
                way: accuracies(vectors @ weight.T + bias, test_y[seen], groups) for way, (weight, bias) in ways.items()
            }
            found.append({"classes": int(group[-1]) + 1, "bytes": spent, "answers": answers})
            print(found[-1]["classes"], spent, {way: f"{100 * each['unknown']:.1f}" for way, each in answers.items()})
            before = {entry.path: entry.sha256 for entry in bundle.manifest.files}
    return found


def fresh(bundle: Bundle, before: dict[str, str], folder: Path) -> dict[str, int]:
    """Bytes of an update by role, and of the whole version, besides the trunk."""
    manifest = (folder / bundle.version / "manifest.json").stat().st_size
    version = manifest + sum(entry.size for entry in bundle.manifest.files if entry.role != "trunk")
    spent = {"others": manifest}
    for entry in bundle.manifest.files:
        if entry.role != "trunk" and before.get(entry.path) != entry.sha256:
            role = entry.role if entry.role in ROLES else "others"
            spent[role] = spent.get(role, 0) + entry.size
    return spent | {"update": sum(spent.values()), "version": version}


def device_ways(bundle: Bundle, memory: GaussianMemory, old: SentRows) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weight and bias of what devices answer with, and of what they would."""
    files = {(entry.role, entry.task): bundle.contents[entry.path] for entry in bundle.manifest.files}
    names, width = [task.name for task in bundle.manifest.tasks], len(memory.means.means[0])
    means: ClassMeans = join([read_means(files["generator", name], name, width) for name in names])
    counts = [len(task.counts) for task in memory.tasks]
    parts = [read_rows(files["rows", name], name, width, count) for name, count in zip(names, counts, strict=True)]
    data = files.get(("correction", None))
    correction = None if data is None else read_correction(data, "correction", width, sum(counts))
    assert memory.sent is not None
    return {
        "device": row_discriminant(means, corrected(parts, correction)),
        "all rows anew": row_discriminant(means, join_rows([stored(rows) for rows in memory.sent.tasks])),
        "rows stay": row_discriminant(means, join_rows([stored(rows) for rows in old.tasks])),
        "computed": discriminant(means, read_shared(files["factor", None], "factor")),
    }


if __name__ == "__main__":
    main()
