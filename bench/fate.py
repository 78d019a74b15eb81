"""Which kernels earn their place on this card: each against PyTorch's form and against what was predicted.

    python -m bench.fate [--to fate.md]

A kernel that is not faster than PyTorch's form in any of its cases is to be deleted; where it is slower in some, the
table says in which. Cases are those of bench/predicted.py. Ends with status 2 where there is no card.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.cases import Case
from bench.predicted import CARDS, CASES, predict
from mygo_edge.kernels.agreement import disagreement
from mygo_edge.kernels.dream import dream
from mygo_edge.kernels.exactness import set_exact_arithmetic
from mygo_edge.kernels.launch import target_of
from mygo_edge.kernels.stack import GeneratorStack

ROUNDS = 20  # in turns; medians are compared


@dataclass(frozen=True, slots=True)
class Fate:
    """Seconds of a call by each form; `fault` says what is wrong with the kernel's dreams, which are then not timed."""

    case: Case
    triton: float
    torch: float
    predicted: float | None
    fault: str = ""

    @property
    def faster(self) -> bool:
        return not self.fault and self.triton < self.torch


def fates(cases: Sequence[Case], device: torch.device, rounds: int = ROUNDS) -> list[Fate]:
    """Check, then time, every case on the device."""
    cards = {card.target: card for card in CARDS}
    found = []
    for case in cases:
        stack = moved(case.stack(), device)
        if fault := disagreement(stack, case.dtype):
            found.append(Fate(case, 0.0, 0.0, None, fault))
            continue

        def call(backend: str, stack=stack, case=case) -> object:  # type: ignore[no-untyped-def]
            counts = [case.each] * case.tasks
            return dream(stack, counts, seed=0, stream=0, step=0, steps=case.steps, dtype=case.dtype, backend=backend)

        by_triton, by_torch = in_turns([lambda: call("triton"), lambda: call("torch")], device, rounds)
        card = cards.get(target_of(device))
        predicted = predict(case, card).seconds if card else None
        found.append(Fate(case, by_triton, by_torch, predicted))
    return found


def moved(stack: GeneratorStack, device: torch.device) -> GeneratorStack:
    """The same generators on the device."""
    return replace(
        stack,
        base_weight=stack.base_weight.to(device),
        class_bias=stack.class_bias.to(device),
        class_offsets=stack.class_offsets.to(device),
        weights=[weight.to(device) for weight in stack.weights],
        biases=[bias.to(device) for bias in stack.biases],
        deviation=None if stack.deviation is None else stack.deviation.to(device),
    )


def in_turns(calls: Sequence[Callable[[], object]], device: torch.device, rounds: int) -> list[float]:
    """Median seconds of each call, taken in turns after one call to warm up."""
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 1):
        for times, call in zip(taken, calls, strict=True):
            wait(device)
            start = time.perf_counter()
            call()
            wait(device)
            if number:
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(found: Sequence[Fate], card: str) -> str:
    """Markdown: a row a case, and a verdict a kind of generator."""
    lines = [f"On {card}. Median milliseconds of a call.", ""]
    lines += ["| dreams | samples | Triton | predicted | PyTorch | |", "|---|---:|---:|---:|---:|---|"]
    for fate in found:
        name = f"| {fate.case.name} | {fate.case.batch:,} |"
        if fate.fault:
            lines.append(f"{name} - | - | - | wrong: {fate.fault} |")
            continue
        predicted = "-" if fate.predicted is None else f"{1e3 * fate.predicted:.3f}"
        verdict = f"{fate.torch / fate.triton:.2f} x as fast as PyTorch"
        lines.append(f"{name} {1e3 * fate.triton:.3f} | {predicted} | {1e3 * fate.torch:.3f} | {verdict} |")
    lines.append("")
    for kind in dict.fromkeys(fate.case.kind for fate in found):
        of_kind = [fate for fate in found if fate.case.kind == kind]
        stays = any(fate.faster for fate in of_kind)
        slower = [fate.case.name for fate in of_kind if not fate.faster]
        verdict = "stays" if stays else "goes: it is faster in no case"
        lines.append(f"- {kind}: {verdict}" + (f"; not faster for {', '.join(slower)}" if stays and slower else ""))
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, help="write the table to this file too")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: this machine has no usable CUDA device", file=sys.stderr)
        return 2
    set_exact_arithmetic()
    found = fates(CASES, torch.device("cuda", torch.cuda.current_device()))
    text = table(found, torch.cuda.get_device_name())
    print(text, end="")
    if given.to:
        given.to.write_text(text)
    return 1 if any(fate.fault for fate in found) else 0


if __name__ == "__main__":
    sys.exit(main())
