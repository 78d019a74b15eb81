"""Avalanche's side of test_peers.py: learn Split-MNIST through its public interfaces, print what came out as JSON.

    python -m bench.peers generative-replay --data-root DIR --epochs 1 --latent 16 --generator-epochs 4
    python -m bench.peers naive --data-root DIR --epochs 1

A process of its own, as a run of `mygo_edge.train` is, so that imports, threads and memory are nobody else's. Only
`strategy.train` is in the seconds: imports, reading the images and the test at the end are not, and no metric or
progress bar runs beside the learning.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks import NCScenario, nc_benchmark
from avalanche.models import MlpVAE
from avalanche.models.generator import VAE_loss
from avalanche.training.determinism.rng_manager import RNGManager
from avalanche.training.plugins import EvaluationPlugin, GenerativeReplayPlugin
from avalanche.training.supervised import GenerativeReplay, Naive, VAETraining
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.datasets import MNIST

from mygo_edge.domains.pixels import Pixels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # what mygo_edge takes by itself
TASKS, CLASSES = 5, 10
MEAN, STD = 0.1307, 0.3081  # SplitMNIST's own normalisation, which MlpVAE gives its replays, too
BATCH = 100  # Avalanche's example of generative replay on Split-MNIST
LEARNING_RATE = 1e-3  # Adam's: the same example, and Avalanche's collection of baselines
GENERATOR_LEARNING_RATE = 1e-3  # the strategy's default is 1e-2, for its generator of 2 latent values
WEIGHT_DECAY = 1e-4  # the generator's, as in the strategy's default


class Images(TensorDataset):
    """One split of MNIST, normalised once, float32 [n, 1, 28, 28]; `targets` is where Avalanche looks for labels."""

    def __init__(self, data_root: Path, train: bool) -> None:
        mnist = MNIST(data_root, train=train, download=False)
        self.images: Tensor = (mnist.data[:, None].float() / 255 - MEAN) / STD
        self.labels: Tensor = mnist.targets
        self.targets: list[int] = mnist.targets.tolist()
        super().__init__(self.images, self.labels)


def split_mnist(train: Images, test: Images) -> NCScenario:
    """What `avalanche.benchmarks.SplitMNIST` makes from the same files, in label order, five times as fast to read.

    SplitMNIST normalises an image whenever it is read and would fetch what is missing; this does neither.
    """
    return nc_benchmark(train, test, TASKS, task_labels=False, fixed_class_order=list(range(CLASSES)))


def new_strategy(options: argparse.Namespace, net: nn.Module) -> SupervisedTemplate:
    """The strategy `options.strategy` over `net`, set up as in the options and the constants above."""
    common: dict[str, Any] = {
        "model": net,
        "optimizer": torch.optim.Adam(net.parameters(), lr=LEARNING_RATE),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": BATCH,
        "train_epochs": options.epochs,
        "device": DEVICE,
        "evaluator": EvaluationPlugin(),
    }
    if options.strategy == "naive":
        return Naive(**common)
    replay = {"replay_size": options.replay_size, "increasing_replay_size": options.increasing_replay}
    if options.latent is None:
        return GenerativeReplay(**common, **replay)  # with the generator that it makes itself
    generator = MlpVAE((1, 28, 28), nhid=options.latent, device=DEVICE)
    generator_strategy = VAETraining(
        model=generator,
        optimizer=torch.optim.Adam(generator.parameters(), lr=GENERATOR_LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        criterion=VAE_loss,
        train_mb_size=BATCH,
        train_epochs=options.generator_epochs or options.epochs,
        device=DEVICE,
        plugins=[GenerativeReplayPlugin(**replay)],
        evaluator=EvaluationPlugin(),
    )
    return GenerativeReplay(**common, generator_strategy=generator_strategy, **replay)


def learn(strategy: SupervisedTemplate, benchmark: NCScenario) -> float:
    """Learn all tasks in order; the wall seconds that it took."""
    seconds = 0.0
    for experience in benchmark.train_stream:
        started = time.monotonic()
        strategy.train(experience)
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds += time.monotonic() - started
    return seconds


@torch.no_grad()
def accuracies(net: nn.Module, test: Images) -> tuple[list[float], list[float]]:
    """Of every task's whole test split: arg max within the task's two classes, and over all ten."""
    net.cpu().eval()
    logits = net(test.images)  # [n, 10]
    known, unknown = [], []
    for own in torch.arange(CLASSES).chunk(TASKS):
        rows = torch.isin(test.labels, own)
        labels, answers = test.labels[rows], logits[rows]
        known.append((own[answers[:, own].argmax(1)] == labels).float().mean().item())
        unknown.append((answers.argmax(1) == labels).float().mean().item())
    return known, unknown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategy", choices=["generative-replay", "naive"])
    parser.add_argument("--data-root", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1, help="passes over a task's images, of the classifier")
    parser.add_argument("--latent", type=int, help="latent values of the generator (default: the strategy's generator)")
    parser.add_argument("--generator-epochs", type=int, help="of the generator of --latent (default: --epochs)")
    parser.add_argument("--replay-size", type=int, help="replays a batch (default: as many as real images)")
    parser.add_argument("--increasing-replay", action="store_true", help="that many for every earlier task")
    options = parser.parse_args()

    RNGManager.set_random_seeds(options.seed)
    train, test = (Images(options.data_root, part) for part in (True, False))
    # The body that mygo_edge learns, with one head over all classes: the strategy uses no task identities.
    net = nn.Sequential(Pixels((1, 28, 28)).layers(), nn.Linear(Pixels((1, 28, 28)).features, CLASSES))
    seconds = learn(new_strategy(options, net), split_mnist(train, test))
    known, unknown = accuracies(net, test)
    versions = {name: version(name) for name in ("avalanche-lib", "torch", "torchvision", "numpy")}
    outcome = {
        "task_known_by_task": known,
        "task_unknown_by_task": unknown,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
