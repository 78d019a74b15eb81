"""Does a network above the trunk add anything? Students of exact sleep, for docs/photos.md.

    OMP_NUM_THREADS=1 python -m bench.photo_students NAME=FOLDER[,PER_CLASS] [--tasks 5]

Learns all tasks by moments, then compares the exact classifier with students that descend on the teacher's dreams, and
with a network trained on the real features of all tasks, and with what is learnt where a GAN of vectors remembers
each task. Seconds are of the processor, without the trunk. Writes bench/results/photo_students.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from bench.photos import accuracies, features, files_of, named, parsed
from mygo_edge import Learner
from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.options import MemoryOptions, TrainOptions

RESULTS = Path(__file__).parent / "results" / "photo_students.json"
HIDDEN, BATCH, STEPS, PEAK = 256, 256, 600, 2e-3
TRUNK = "efficientnet-lite0"
Batch = Callable[[], tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="NAME=FOLDER[,PER_CLASS]")
    parser.add_argument("--tasks", type=int, default=5)
    options = parser.parse_args()
    name, folder, per_class = parsed(options.set)
    (x, y, test_x, test_y), of_set = features(folder, per_class, TRUNK, None)
    groups = np.array_split(np.arange(int(y.max()) + 1), options.tasks)
    memory, start = GaussianMemory(PowerTransform.of(x), x.shape[1]), time.process_time()
    for group in groups:
        own = np.isin(y, group)
        memory.learn(x[own], y[own] - group[0], [str(label) for label in group])
    covariance = memory.covariance()
    weight, bias = memory.sleep(covariance)
    seconds = time.process_time() - start
    vectors, centre = memory.transform(test_x), memory.means.means.mean(0)
    deviation = np.sqrt(covariance.shrunk.matrix.diagonal()).astype(np.float32)
    root = np.linalg.cholesky(covariance.shrunk.matrix).astype(np.float32)
    scale = float((vectors @ weight.T + bias).std())
    rng = np.random.default_rng(0)
    classes, width = weight.shape

    def scaled(given: np.ndarray) -> Tensor:
        return torch.from_numpy((given - centre) / deviation)

    def dreams() -> tuple[Tensor, Tensor]:
        ids = rng.integers(0, classes, BATCH)
        dreamt = memory.means.means[ids] + rng.standard_normal((BATCH, width), np.float32) @ root.T
        return scaled(dreamt), torch.from_numpy((dreamt @ weight.T + bias) / scale)

    real_x, real_y = scaled(memory.transform(x)), torch.from_numpy(y)

    def real() -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(rng.integers(0, len(y), BATCH))
        return real_x[rows], real_y[rows]

    def network(dropout: float) -> nn.Module:
        hidden = [nn.Linear(width, HIDDEN), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HIDDEN, classes)]
        return nn.Sequential(nn.Dropout(dropout), *hidden)

    torch.manual_seed(0)
    students: dict[str, tuple[nn.Module, Batch, nn.Module]] = {
        "linear, on dreams": (nn.Linear(width, classes), dreams, nn.MSELoss()),
        "network, on dreams": (network(0), dreams, nn.MSELoss()),
        "network, on the real features of all tasks": (network(0.3), real, nn.CrossEntropyLoss()),
    }
    rows = {"exact": accuracies(vectors @ weight.T + bias, test_y, groups) | {"seconds": seconds}}
    for student, (net, batch, loss) in students.items():
        start = time.process_time()
        descend(net, batch, loss)
        seconds = time.process_time() - start
        with torch.no_grad():
            rows[student] = accuracies(net.eval()(scaled(vectors)).numpy(), test_y, groups) | {"seconds": seconds}
    rows["network, on dreams of GANs"] = of_gans(files_of(folder, per_class), groups, of_set["seconds_trunk"])
    command = f"OMP_NUM_THREADS=1 python -m bench.photo_students {named(options.set)}"
    about = {"train": len(y), "steps": STEPS, "batch": BATCH, "hidden": HIDDEN}
    RESULTS.write_text(json.dumps({"command": command, "set": name, **about, "students": rows}, indent=1) + "\n")
    print(rows)


def of_gans(files: dict[str, list[list[Path]]], groups: list[np.ndarray], seconds_trunk: float) -> dict[str, float]:
    """What `--memory.generator perceptron` learns of the same photos, by its own defaults."""

    def labelled(part: str, group: np.ndarray) -> tuple[list[Path], list[str]]:
        pairs = [(path, str(label)) for label in group for path in files[part][label]]
        return [path for path, _ in pairs], [label for _, label in pairs]

    options = TrainOptions(trunk=TRUNK, memory=MemoryOptions(generator="perceptron"), device="cpu")
    with TemporaryDirectory() as run, Learner.create(run, options) as learner:
        start = time.process_time()
        for number, group in enumerate(groups):
            learner.learn(f"task{number}", *labelled("train", group))
        seconds = time.process_time() - start - seconds_trunk
        tests = [labelled("test", group) for group in groups]
        known = [learner.accuracy(*test, task=f"task{number}") for number, test in enumerate(tests)]
        unknown = [learner.accuracy(*test) for test in tests]
    sizes = [len(paths) for paths, _ in tests]
    averages = (float(np.average(shares, weights=sizes)) for shares in (known, unknown))
    return dict(zip(("known", "unknown"), averages, strict=True)) | {"seconds": seconds}


def descend(net: nn.Module, batch: Batch, loss: nn.Module) -> None:
    """Adam, one cycle."""
    optimiser = torch.optim.Adam(net.parameters(), lr=PEAK)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK, STEPS)
    for _ in range(STEPS):
        inputs, targets = batch()
        optimiser.zero_grad()
        loss(net(inputs), targets).backward()
        optimiser.step()
        schedule.step()


if __name__ == "__main__":
    main()
