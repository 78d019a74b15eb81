"""Does a network above the trunk add anything? Students of exact sleep, for docs/photos.md.

    OMP_NUM_THREADS=1 python -m bench.photo_students NAME=FOLDER[,PER_CLASS] [--tasks 5]

Learns all tasks by moments, then compares the exact classifier with students that descend on the teacher's dreams, and
with a network trained on the real features of all tasks. Writes bench/results/photo_students.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.photos import accuracies, features, named, parsed
from mygo_edge.learn.gaussian_memory import GaussianMemory, transform_for

RESULTS = Path(__file__).parent / "results" / "photo_students.json"
HIDDEN, BATCH, STEPS, PEAK = 256, 256, 600, 2e-3
Batch = Callable[[], tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="NAME=FOLDER[,PER_CLASS]")
    parser.add_argument("--tasks", type=int, default=5)
    options = parser.parse_args()
    name, folder, per_class = parsed(options.set)
    (x, y, test_x, test_y), _ = features(folder, per_class, "efficientnet-lite0", None)
    groups = np.array_split(np.arange(int(y.max()) + 1), options.tasks)
    memory = GaussianMemory(transform_for(x), x.shape[1])
    for group in groups:
        own = np.isin(y, group)
        memory.learn(x[own], y[own] - group[0], [str(label) for label in group])
    covariance = memory.covariance()
    weight, bias = memory.sleep(covariance)
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
    rows = {"exact": accuracies(vectors @ weight.T + bias, test_y, groups)}
    for student, (net, batch, loss) in students.items():
        descend(net, batch, loss)
        with torch.no_grad():
            rows[student] = accuracies(net.eval()(scaled(vectors)).numpy(), test_y, groups)
    command = f"OMP_NUM_THREADS=1 python -m bench.photo_students {named(options.set)}"
    about = {"train": len(y), "steps": STEPS, "batch": BATCH, "hidden": HIDDEN}
    RESULTS.write_text(json.dumps({"command": command, "set": name, **about, "students": rows}, indent=1) + "\n")
    print(rows)


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
