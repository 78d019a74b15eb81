"""What wake, memory and sleep cost beside the trunk's own time, at 10, 50 and 200 tasks, for docs/photos.md.

    OMP_NUM_THREADS=1 python -m bench.feature_cost

Features are drawn: 1,280 wide, with a spectrum that falls as that of photos' features does, two classes a task. The
trunk's time is that of its graph alone, on one thread, measured between the tasks, so that what else the machine does
slows both down. What a process loads once, modules and the trunk, is in neither. Writes
bench/results/feature_cost.json.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.run.allocator import keep_freed_memory
from mygo_edge.trunks.catalogue import load_trunk
from mygo_edge.trunks.extract import BATCH, Extractor
from mygo_edge.trunks.options import TrunkOptions

RESULTS = Path(__file__).parent / "results" / "feature_cost.json"
FEATURES, CLASSES = 1280, 2
TASKS, IMAGES = (1, 2, 5, 10, 50, 200), (20, 50, 100, 200, 500)
SIZES = (160, 224)
BETWEEN = 4  # tasks from one batch of the trunk to the next


def main() -> None:
    keep_freed_memory()  # as a run does
    next(learn(1, IMAGES[-1]))  # which loads what is loaded late
    trunks = {str(size): Trunk(size) for size in SIZES}
    rows = []
    for images in IMAGES:
        seconds: list[float] = []  # of each task
        batches: dict[str, list[float]] = {size: [] for size in trunks}
        for number, each in enumerate(learn(max(TASKS), images)):
            seconds.append(each)
            if number % BETWEEN == 0:
                for size, trunk in trunks.items():
                    batches[size].append(trunk.seconds())
            if number + 1 in TASKS:
                trunk_seconds = {size: float(np.mean(found)) for size, found in batches.items()}
                row = {"images": images, "tasks": number + 1, "seconds": sum(seconds), "trunk_seconds": trunk_seconds}
                rows.append(row)
                print(row, flush=True)
    command = "OMP_NUM_THREADS=1 python -m bench.feature_cost"
    RESULTS.write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")


class Trunk:
    """On inputs of so many pixels a side."""

    def __init__(self, size: int) -> None:
        self._extract = Extractor(load_trunk("efficientnet-lite0", TrunkOptions(size=size)), threads=1)
        self._pictures = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
        self.seconds()  # the first takes longer

    def seconds(self) -> float:
        """Of an image, by a batch; of the processor, which others on the machine disturb less."""
        start = time.process_time()
        self._extract(self._pictures)
        return (time.process_time() - start) / BATCH


def learn(tasks: int, images: int) -> Iterator[float]:
    """Seconds of each task's wake, memory and sleep."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((FEATURES, FEATURES)))[0].astype(np.float32)
    spread = np.sqrt(60 / np.arange(1, FEATURES + 1) ** 0.9).astype(np.float32)[:, None] * directions / 12
    memory = GaussianMemory(PowerTransform(), FEATURES)
    for _ in range(tasks):
        labels = np.arange(images) % CLASSES
        means = rng.uniform(0.3, 0.9, (CLASSES, FEATURES)).astype(np.float32)
        vectors = means[labels] + rng.standard_normal((images, FEATURES), np.float32) @ spread
        features = np.maximum(vectors, 0) ** 2
        start = time.process_time()
        memory.learn(features, labels, [str(label) for label in range(CLASSES)])
        covariance = memory.covariance()
        weight, _ = memory.sleep(covariance)
        memory.refactor(covariance, weight)
        yield time.process_time() - start


if __name__ == "__main__":
    main()
