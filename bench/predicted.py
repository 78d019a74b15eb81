"""A model of what the kernels cost on a card, to be compared with the first measurement: no GPU has run them yet.

    python -m bench.predicted

Every launch that the learner makes is counted (bytes to memory, matrix products, other operations, programs) and takes
the time of the slowest of what the card allows, over the share of the card that its programs fill. What is assumed of
cards and shares of peaks stands in this file, and nowhere else.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import triton

from bench.cases import DIGITS, FEATURES, MNIST, Case
from bench.compiled import launches_of
from mygo_edge.kernels.launch import Launch

NORMAL = 62  # instructions of an exact normal, counted in what ptxas makes of noise alone: bench/results/normals.json
TANH = 8  # exponential, quotient, two more
LAUNCH_SECONDS = 1.5e-6  # of a kernel within a CUDA graph, begun to begun
ROUNDS = 3  # TF32 products of one single-precision product


@dataclass(frozen=True, slots=True)
class Card:
    """Peaks by NVIDIA's data sheets, dense: memory in bytes a second; matrix products of 16 bits and of TF32 in
    operations a second. lanes: instructions a second, four schedulers of 32 lanes a multiprocessor.
    """

    name: str
    target: int
    multiprocessors: int
    memory: float
    half: float
    tf32: float
    single: float
    gigahertz: float

    @property
    def lanes(self) -> float:
        return self.multiprocessors * 128 * self.gigahertz * 1e9


CARDS = (
    Card("A100 80GB", 80, 108, 2.04e12, 312e12, 156e12, 19.5e12, 1.41),
    Card("RTX 4090", 89, 128, 1.01e12, 165e12, 82.6e12, 82.6e12, 2.52),
    Card("H100 SXM", 90, 132, 3.35e12, 989e12, 495e12, 67e12, 1.83),
    Card("B200", 100, 148, 8.0e12, 2250e12, 1125e12, 75e12, 1.85),
)
# What of its peaks a good kernel reaches: assumptions, to be replaced by measurements.
MEMORY_SHARE, PRODUCT_SHARE, LANE_SHARE = 0.85, 0.4, 0.6


@dataclass(frozen=True, slots=True)
class Cost:
    """Of some launches: bytes moved to and from memory, operations of matrix products, single instructions of a lane,
    and programs.
    """

    bytes: float
    products: float
    instructions: float
    programs: int


def cost_of(launch: Launch, single: bool) -> Cost:
    """What a launch has to do, its padding and repeated noise included."""
    return _COUNTS[launch.name](launch, ROUNDS if single else 1)


def _noise(launch: Launch, rows: float) -> float:
    """Instructions for z, which every program makes for itself, with the blocks that pad it."""
    return launch.blocks * rows * 4 * launch.options["BLOCKS"] * NORMAL


def _base(launch: Launch, rounds: int) -> Cost:
    maps, _, _, _, base = launch.arguments
    rows, padded = len(maps), launch.grid[0] * launch.options["COLUMNS"]
    return Cost(
        bytes=0.0,  # maps stay in the L2 cache
        products=2.0 * rounds * rows * padded * 4 * launch.options["BLOCKS"],
        instructions=_noise(launch, launch.options["ROWS"]) + 4 * rows * base,
        programs=launch.blocks,
    )


def _upsample(launch: Launch, rounds: int) -> Cost:
    _, maps, _, layer, _ = launch.arguments
    padded = launch.grid[2] // 4 * launch.options["COLUMNS"]
    positions = len(maps) * layer.height * layer.width
    loads = 4 * positions * 4 * (layer.channels + padded / 8)  # addresses, masks, conversions: about 4 a number
    return Cost(0.0, 2.0 * rounds * 16 * positions * layer.channels * padded, loads, launch.blocks)


def _image(launch: Launch, rounds: int) -> Cost:
    images, maps, _, layer, _ = launch.arguments
    pixels = len(maps) * layer.out_channels * layer.out_height * layer.out_width
    taps = len(maps) * layer.height * layer.width * layer.out_channels * layer.channels * (16 + 9)  # products, loads
    return Cost(pixels * images.element_size(), 0.0, taps + TANH * pixels, launch.blocks)


def _perceptron(launch: Launch, rounds: int) -> Cost:
    images, _, _, dense = launch.arguments
    how = launch.options
    samples = launch.blocks * how["ROWS"]
    pixels = triton.cdiv(dense.pixels, how["PIXELS"]) * how["PIXELS"]
    products = 2.0 * rounds * samples * how["HIDDEN"] * (4 * how["BLOCKS"] + pixels)
    work = _noise(launch, how["ROWS"]) + samples * pixels * (TANH + 6)
    return Cost(images.numel() * images.element_size(), products, work, launch.blocks)


def _gaussian(launch: Launch, rounds: int) -> Cost:
    answer, _, _, _, _, features, _ = launch.arguments
    how = launch.options
    samples = launch.grid[0] * how["ROWS"]
    columns = triton.cdiv(features, how["COLUMNS"]) * how["COLUMNS"]
    work = _noise(launch, how["ROWS"]) + samples * columns * (NORMAL + 8)
    products = 2.0 * rounds * samples * columns * 4 * how["BLOCKS"]
    passes = (
        3 if how["NORMALISED"] else 1
    )  # stored, read and stored again: at most, for some of it stays in the L2 cache
    return Cost(passes * answer.numel() * answer.element_size(), products, work, launch.blocks)


_COUNTS: dict[str, Callable[[Launch, int], Cost]] = {
    "base": _base,
    "upsample": _upsample,
    "image": _image,
    "perceptron": _perceptron,
    "gaussian": _gaussian,
}


def seconds(cost: Cost, card: Card, single: bool, programs_at_once: int = 1) -> float:
    """What the card needs: its slowest part, over the share of the last wave that programs fill, and the launch."""
    peak = card.tf32 if single else card.half
    needed = max(
        cost.bytes / (MEMORY_SHARE * card.memory),
        cost.products / (PRODUCT_SHARE * peak) + cost.instructions / (LANE_SHARE * card.lanes),
    )
    at_once = card.multiprocessors * programs_at_once
    waves = -(-cost.programs // at_once)
    return needed * waves * at_once / max(1.0, cost.programs) + LAUNCH_SECONDS


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of one call: seconds; the share of it that its bytes alone would need at the memory's peak; and launches."""

    seconds: float
    memory_share: float
    launches: int


def predict(case: Case, card: Card) -> Prediction:
    """What a call of the Triton kernels takes on a card."""
    single = case.dtype == torch.float32
    costs = [cost_of(launch, single) for launch in launches_of(case, card.target)]
    total = sum(seconds(cost, card, single) for cost in costs)
    return Prediction(total, sum(cost.bytes for cost in costs) / card.memory / total, len(costs))


def distillation(batch: int, classes: int, card: Card, features: int = 256) -> tuple[float, float, float]:
    """Seconds of a sleep step's loss and its gradients: by two matrix products forward and two backward over a written
    error matrix; by one fused kernel for the rows and one for the classes that write none; and by the same kernels
    with everything mended that could be.

    The products are cuBLAS's, in single precision at 0.7 of the peak, each a launch, and three launches make errors and
    sums. The fused form reads less but makes the logits again for every block of 128 features and in both kernels, in
    single precision without matrix units at 0.35 of the peak, with two launches and three to add the shares up.
    Mended, logits are made once a kernel, by three TF32 products each, in tiles of 16 samples.
    """
    product = 2.0 * batch * classes * features
    written = 4 * product / (0.7 * card.single) + 7 * LAUNCH_SECONDS
    again = features // 128
    fused = (2 * 2 * again * product + 2 * product) / (0.35 * card.single)
    rows = triton.cdiv(batch, 32) * again
    fused *= max(1.0, card.multiprocessors / rows)  # blocks of 32 samples and 128 features fill no card
    mended = (2 * 2 * product + 2 * product) / (PRODUCT_SHARE * card.tf32 / ROUNDS)
    mended *= max(1.0, card.multiprocessors / triton.cdiv(batch, 16))
    return written, fused + 5 * LAUNCH_SECONDS, mended + 5 * LAUNCH_SECONDS


def sleep_step(batch: int, card: Card) -> float:
    """Seconds of a step with `batch` dreams of 28 x 28 pixels over five tasks, in a CUDA graph.

    Dreams are made ahead. Per dream a teacher's forward pass takes 2.8 million operations, the student's forward and
    backward 8.3 million, by cuDNN in single precision at an assumed 0.3 of the peak; weights, gradients and Adam's
    averages move 13 MB; and about 45 kernels follow one another.
    """
    dreams = predict(Case("convolutional", MNIST, each=max(1, batch // 5)), card).seconds / 8
    products = batch * (2.8e6 + 8.3e6) / (0.3 * card.single)
    return dreams + products + 13e6 / (MEMORY_SHARE * card.memory) + 45 * LAUNCH_SECONDS


CASES = (
    Case("convolutional", MNIST, torch.bfloat16, each=1024, steps=16),
    Case("convolutional", MNIST, each=48, steps=8),
    Case("convolutional", DIGITS, each=48, steps=8),
    Case("perceptron", MNIST, torch.bfloat16, width=128, each=1024, steps=16),
    Case("perceptron", MNIST, width=128, each=48, steps=8),
    Case("gaussian", FEATURES, torch.bfloat16, each=1024, steps=8),
    Case("gaussian", FEATURES, each=1024, steps=8),
    Case("gaussian", FEATURES, each=48, steps=1),
)


def page() -> str:
    """The tables of docs/performance.md."""
    lines = [
        "| dreams | samples | launches | " + " | ".join(f"{card.name}" for card in CARDS) + " |",
        "|---|---:|---:|" + "---:|" * len(CARDS),
    ]
    for case in CASES:
        made = [predict(case, card) for card in CARDS]
        cells = [f"{1e6 * one.seconds:,.0f} µs, {100 * one.memory_share:.0f} %" for one in made]
        name = replace(case, steps=8).name
        lines.append(f"| {name} | {case.batch:,} | {made[-2].launches} | " + " | ".join(cells) + " |")
    lines += ["", "| a sleep step | " + " | ".join(card.name for card in CARDS) + " |", "|---|" + "---:|" * len(CARDS)]
    for batch in (128, 240, 512, 4096):
        cells = [f"{1e3 * sleep_step(batch, card):.2f} ms" for card in CARDS]
        lines.append(f"| {batch} dreams | {' | '.join(cells)} |")
    lines += [
        "",
        "| loss of a sleep step | " + " | ".join(f"{card.name}, written / fused" for card in CARDS) + " |",
        "|---|" + "---:|" * len(CARDS),
    ]
    for batch, classes in ((240, 10), (512, 40), (512, 200), (4096, 200)):
        pairs = [distillation(batch, classes, card) for card in CARDS]
        cells = [f"{1e6 * written:.0f} / {1e6 * fused:.0f} µs" for written, fused, _ in pairs]
        lines.append(f"| {batch} dreams, {classes} classes | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(page(), end="")


if __name__ == "__main__":
    main()
