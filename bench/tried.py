"""What else was tried with the Triton kernels, by compiling and counting: no GPU has run them yet.

    python -m bench.tried [--page docs/tried.md]

Every variant is the learner's own launch with other sizes in place of those of kernels/tiling.py, compiled for three
targets and counted by the model of bench/predicted.py. What was kept is what the kernels do now; what is open waits
for a card; everything else was rejected for the reason that its row gives.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from bench.cases import FEATURES, MNIST, Case
from bench.compiled import compile_case, launches_of
from bench.predicted import CARDS, distillation, predict
from mygo_edge.kernels import convolution_triton, dream_triton, gaussian_triton
from mygo_edge.kernels.launch import Launch
from mygo_edge.kernels.stack import GeneratorStack
from mygo_edge.kernels.tiling import Tile

TARGETS = (80, 89, 90)
H100, A100 = CARDS[2], CARDS[0]
L2_BYTES_A_SECOND = 5.5e12  # of an H100, as published microbenchmarks measure it: an assumption
SINGLE = Case("convolutional", MNIST)
HALF = Case("convolutional", MNIST, torch.bfloat16, each=1024, steps=16)
PERCEPTRON = Case("perceptron", MNIST, width=128)
PERCEPTRON_HALF = Case("perceptron", MNIST, torch.bfloat16, width=128, each=1024, steps=16)
GAUSSIAN = Case("gaussian", FEATURES)
GAUSSIAN_FEW = Case("gaussian", FEATURES, steps=1)

Change = Callable[[ExitStack], None]


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel of a case, changed; `verdict` says whether it was kept, and why."""

    what: str
    kernel: str
    case: Case
    verdict: str
    change: Change = lambda stack: None


def tile(name: str, rows: int, columns: int, depth: int, warps: int, stages: int = 1) -> Change:
    """Another tile for a kernel; 0 keeps a size."""

    def change(stack: ExitStack) -> None:
        where = convolution_triton if name in ("upsample_tile", "image_tile") else dream_triton
        shipped = getattr(where, name)

        def other(*shape: Any) -> Tile:
            usual = shipped(*shape)
            sizes = (rows or usual.rows, columns or usual.columns, depth or usual.depth)
            return Tile(*sizes, warps or usual.warps, stages)

        stack.enter_context(patch.object(where, name, other))
        if name == "base_tile":
            stack.enter_context(patch.object(convolution_triton, name, other))

    return change


def stacked(change_of: Callable[[GeneratorStack], GeneratorStack]) -> Change:
    """Weights that are stacked otherwise."""

    def change(stack: ExitStack) -> None:
        shipped = Case.stack
        stack.enter_context(patch.object(Case, "stack", lambda case: change_of(shipped(case))))

    return change


def as_trained(stack: GeneratorStack) -> GeneratorStack:
    """Base columns a channel apart from one another, as a generator's own are, [channels, height, width]."""
    area = stack.base_size[0] * stack.base_size[1]
    apart = stack.base_weight.new_empty(*stack.base_weight.shape, area)[..., 0]
    return replace(stack, base_weight=apart.copy_(stack.base_weight))


def halved(stack: GeneratorStack) -> GeneratorStack:
    weights = [weight.half() for weight in stack.weights]
    return replace(stack, base_weight=stack.base_weight.half(), weights=weights)


VARIANTS = (
    Variant("64 samples x 64 columns, 8 warps", "base", SINGLE, "kept"),
    Variant("4 warps", "base", SINGLE, "open: equal by the model", tile("base_tile", 0, 0, 0, 4)),
    Variant("128 columns", "base", SINGLE, "rejected: registers, half the programs", tile("base_tile", 0, 128, 0, 8)),
    Variant(
        "all columns in a program",
        "base",
        SINGLE,
        "rejected: spills, a quarter of the programs",
        tile("base_tile", 0, 256, 0, 8),
    ),
    Variant("32 samples", "base", SINGLE, "open: 3 % by the model, before a card", tile("base_tile", 32, 0, 0, 4)),
    Variant("16 samples", "base", SINGLE, "open: 2 % by the model, before a card", tile("base_tile", 16, 0, 0, 4)),
    Variant(
        "columns as trained, not channels last",
        "base",
        SINGLE,
        "rejected: no wide loads of weights",
        stacked(as_trained),
    ),
    Variant("as in the table of tiles", "upsample", SINGLE, "kept"),
    Variant(
        "128 positions x 32 channels deep, 8 warps",
        "upsample",
        SINGLE,
        "rejected on 80 and 89, kept on 90",
        tile("upsample_tile", 128, 0, 32, 8, 2),
    ),
    Variant(
        "64 positions x 16 channels deep, 4 warps",
        "upsample",
        SINGLE,
        "kept on 80 and 89",
        tile("upsample_tile", 64, 0, 16, 4, 2),
    ),
    Variant("1 stage", "upsample", SINGLE, "rejected: loads wait for products", tile("upsample_tile", 0, 0, 0, 0, 1)),
    Variant("64 positions, 4 phases a program", "image", SINGLE, "kept"),
    Variant("128 positions", "image", SINGLE, "rejected: spills or fewer blocks", tile("image_tile", 128, 0, 0, 4)),
    Variant("32 channels deep", "image", SINGLE, "rejected: spills or fewer blocks", tile("image_tile", 0, 0, 32, 4)),
    Variant("16 samples x 32 pixels", "perceptron", PERCEPTRON, "kept"),
    Variant(
        "32 samples, 8 warps", "perceptron", PERCEPTRON, "rejected: fewer blocks", tile("perceptron_tile", 32, 32, 0, 8)
    ),
    Variant("32 samples, 4 warps", "perceptron", PERCEPTRON, "rejected: spills", tile("perceptron_tile", 32, 32, 0, 4)),
    Variant("64 samples, 8 warps", "perceptron", PERCEPTRON, "rejected: spills", tile("perceptron_tile", 64, 32, 0, 8)),
    Variant("16 samples x 64 columns", "gaussian", GAUSSIAN, "kept"),
    Variant("32 samples", "gaussian", GAUSSIAN, "rejected: spills or fewer blocks", tile("gaussian_tile", 32, 0, 0, 4)),
    Variant(
        "128 columns", "gaussian", GAUSSIAN, "rejected: spills or fewer blocks", tile("gaussian_tile", 0, 128, 0, 4)
    ),
    Variant("240 dreams: columns shared by programs", "gaussian", GAUSSIAN_FEW, "kept: the card is full"),
    Variant(
        "240 dreams: a program has all columns",
        "gaussian",
        GAUSSIAN_FEW,
        "rejected: an eighth of the card",
        lambda stack: stack.enter_context(patch.object(gaussian_triton, "PROGRAMS", 1)),
    ),
    Variant("weights in fp32", "upsample", HALF, "kept"),
    Variant("weights in fp16", "upsample", HALF, "rejected, see below", stacked(halved)),
    Variant("weights in fp32", "perceptron", PERCEPTRON_HALF, "kept"),
    Variant("weights in fp16", "perceptron", PERCEPTRON_HALF, "rejected, see below", stacked(halved)),
)


@contextmanager
def changed(variant: Variant) -> Iterator[None]:
    with ExitStack() as stack:
        variant.change(stack)
        yield


def row(variant: Variant) -> str:
    """Registers, bytes spilt, shared memory, blocks at once and wide loads by target; programs; time of a call."""
    with changed(variant):
        cells = []
        for target in TARGETS:
            made = [one for one in compile_case(variant.case, target) if one.kernel == variant.kernel]
            cells.append(
                " <br> ".join(
                    f"{one.registers} / {one.spilt} / {one.shared / 1024:.0f}K / {one.blocks_at_once}, "
                    f"{100 * one.wide_loads:.0f} %" if one.registers else one.faults[0]
                    for one in made
                )
            )  # fmt: skip
        programs = sum(one.blocks for one in launches_of(variant.case, 90) if one.name == variant.kernel)
        times = [f"{1e6 * predict(variant.case, card).seconds:,.0f}" for card in (A100, H100)]
    name = f"{variant.kernel}, {variant.what}"
    name = f"**{name}**" if variant.verdict.startswith("kept") else name
    return f"| {name} | {' | '.join(cells)} | {programs:,} | {' | '.join(times)} | {variant.verdict} |"


def weight_bytes(launch: Launch, size: int) -> float:
    """Bytes of weights of `size` bytes each that a launch's programs read, from the L2 cache after the first."""
    how = launch.options
    if launch.name == "base":
        return launch.blocks * how["LATENT"] * how["COLUMNS"] * size
    if launch.name == "upsample":
        return launch.blocks * 4 * launch.arguments[3].channels * how["COLUMNS"] * size
    if launch.name == "image":
        layer = launch.arguments[3]
        return launch.blocks * 16 * layer.channels * size
    dense = launch.arguments[3]
    return launch.blocks * (how["LATENT"] + dense.pixels) * dense.hidden * size


def of_halves() -> list[str]:
    """What weights kept in half precision would save and take."""
    lines = [
        "| dreams | weights read, fp32 | fp16 | time saved on an H100 | of the call |",
        "|---|---:|---:|---:|---:|",
    ]
    for case in (HALF, PERCEPTRON_HALF):
        launches = launches_of(case, 90)
        single, half = (sum(weight_bytes(one, size) for one in launches) for size in (4, 2))
        saved, whole = (single - half) / L2_BYTES_A_SECOND, predict(case, H100).seconds
        lines.append(
            f"| {case.name}, {case.batch:,} | {single / 1e9:.2f} GB | {half / 1e9:.2f} GB | "
            f"{1e6 * saved:,.0f} µs at most | {100 * saved / whole:.0f} % |"
        )
    return lines


def of_distillation() -> list[str]:
    """The loss by two products over a written error matrix, and by the fused kernels as they were and at their best."""
    lines = ["| loss of a sleep step | A100 80GB | RTX 4090 | H100 SXM | B200 |", "|---|---:|---:|---:|---:|"]
    for batch, classes in ((240, 10), (512, 40), (512, 200), (4096, 200)):
        cells = [" / ".join(f"{1e6 * seconds:.0f}" for seconds in distillation(batch, classes, card)) for card in CARDS]
        lines.append(f"| {batch} dreams, {classes} classes | {' µs | '.join(cells)} µs |")
    return lines


def page() -> str:
    stack = replace(HALF, tasks=200).stack()
    numbers = stack.base_weight.numel() + sum(weight.numel() for weight in stack.weights)
    lines = [
        "| kernel | " + " | ".join(f"sm_{target}" for target in TARGETS) + " | programs | A100 | H100 | |",
        "|---|" + "---|" * len(TARGETS) + "---:|---:|---:|---|",
        *(row(variant) for variant in VARIANTS),
    ]
    return f"""# What was tried with the kernels

Made by `python -m bench.tried --page docs/tried.md`, without a GPU: compiled and counted, **not yet run on a GPU**.
Every row is the learner's launch of dreams, one thing changed. In a cell: registers a thread / bytes spilt a thread /
shared memory a block / blocks at once on a multiprocessor, and the share of loads that move 16 bytes a thread. Then
programs of a call's launches on sm_90, and the microseconds of the whole call that the model of
[predicted.py](../bench/predicted.py) allows. **Bold** is what the kernels do.

{chr(10).join(lines)}

Fewer samples a tile make more programs where dreams are few, but every program makes the noise of its tile for itself,
and each block of columns makes it again; the model, which knows that, gives the microseconds above. It does not know
how many blocks share a multiprocessor: of two variants of equal time the one with more blocks at once, or without
spills, was kept.

## Weights in half precision

For answers in bfloat16 or float16 the kernels turn weights into float16 as they load them. Kept in float16 they would
be half the bytes:

{chr(10).join(of_halves())}

Weights of a chunk's tasks are in the L2 cache, so what is saved is traffic between it and the multiprocessors, beside
which products and instructions go on: the times are the most that could be saved, if nothing overlapped. That may be
worth it where half-precision dreams are wanted, but no sleep makes any: it dreams in float32, where weights of 11 bits
would be an error thousands of times the kernels' own. Against it stands a second copy of every stack,
{2 * numbers / 1e6:.0f} MB beside {4 * numbers / 1e6:.0f} MB at 200 tasks, made anew with every task. So weights stay in
float32.

## The distillation kernels

A fused loss that writes no logits was deleted: it was predicted to lose against cuBLAS's products over a written error
matrix. Three of its faults could have been mended: logits made once by a depth loop of their own instead of once for
every block of features, TF32 products in threes instead of single precision without matrix units, and tiles of 16
samples so that few dreams fill a card. In a cell: written / fused as it was / fused with all of that, predicted.

{chr(10).join(of_distillation())}

Mended, it would win 3 µs of a step of 140 µs or more where dreams and classes are few, and 18 µs of 2,300 on a B200
where dreams are many; it would lose 3 to 33 µs where classes are many and dreams few, and everywhere on an RTX 4090,
whose TF32 is slow. So the loss stays two products in plain PyTorch, which a CUDA graph captures like the rest.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="write it to this Markdown file instead of printing it")
    given = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("TRITON_INTERPRET=1 interprets the kernels instead of compiling them; unset it")
    torch.set_num_threads(1)
    text = page()
    if given.page:
        given.page.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
