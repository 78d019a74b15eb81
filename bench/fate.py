"""Which kernels earn their place on this card: each against PyTorch's forms and against what was predicted.

    python -m bench.fate --to fate.json [--seconds 80]
    python -m bench.fate --from fate.json [--benchmarks benchmarks.json] --to fate.md

The first times every case of bench/predicted.py, as the kernels make it and as PyTorch does. The second decides: a
kernel stays that is faster than PyTorch's form in some case and, where the benchmarks of dreams timed it beside all
other ways, than every one of them in some group; else it is to be deleted. Where time is over, cases are left out and
the table says so. The first ends with status 2 where there is no card, 1 where a kernel is wrong.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from bench.cases import Case
from bench.predicted import CARDS, CASES, predict
from bench.report.results import Results, read
from mygo_edge.kernels.agreement import disagreement
from mygo_edge.kernels.dream import dream
from mygo_edge.kernels.exactness import set_exact_arithmetic
from mygo_edge.kernels.launch import target_of
from mygo_edge.kernels.stack import GeneratorStack

ROUNDS = 20  # in turns; medians are compared
OURS = "ours, triton"  # in the benchmarks of dreams
LEFT_OUT = "not measured: the time was over"


@dataclass(frozen=True, slots=True)
class Fate:
    """Seconds of a call by each form; `fault` says why there are none: the dreams are wrong, or the time was over."""

    name: str
    kind: str
    samples: int
    triton: float = 0.0
    torch: float = 0.0
    predicted: float | None = None
    fault: str = ""

    @property
    def faster(self) -> bool:
        return not self.fault and self.triton < self.torch


def measure(cases: Sequence[Case], device: torch.device, seconds: float, to: Path, rounds: int = ROUNDS) -> int:
    """Check, then time, every case on the device, as long as time is left; the file is whole after every case.

    Returns:
        Status: 1 where a kernel is wrong.
    """
    end = time.monotonic() + seconds
    found = [Fate(case.name, case.kind, case.batch, fault=LEFT_OUT) for case in cases]
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "a stand-in for a card"
    for place, case in enumerate(cases):
        if time.monotonic() < end:
            found[place] = fate(case, device, rounds)
        to.write_text(json.dumps({"card": card, "fates": [asdict(one) for one in found]}, indent=1) + "\n")
    return 1 if any(one.fault and one.fault != LEFT_OUT for one in found) else 0


def fate(case: Case, device: torch.device, rounds: int = ROUNDS) -> Fate:
    """Of one case, first checked and then timed."""
    found = Fate(case.name, case.kind, case.batch)
    stack = moved(case.stack(), device)
    if fault := disagreement(stack, case.dtype):
        return replace(found, fault=f"wrong: {fault}")

    def call(backend: str) -> object:
        counts = [case.each] * case.tasks
        return dream(stack, counts, seed=0, stream=0, step=0, steps=case.steps, dtype=case.dtype, backend=backend)

    by_triton, by_torch = in_turns([lambda: call("triton"), lambda: call("torch")], device, rounds)
    cards = {card.target: card for card in CARDS}
    card = cards.get(target_of(device))
    predicted = predict(case, card).seconds if card else None
    return replace(found, triton=by_triton, torch=by_torch, predicted=predicted)


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


# --- What it decides --------------------------------------------------------------------------------------------------


def table(found: Sequence[Fate], card: str, benchmarks: Results | None = None) -> str:
    """Markdown: a row a case, then a verdict a kind of generator."""
    lines = [f"On {card}. Median milliseconds of a call.", ""]
    lines += ["| dreams | samples | Triton | predicted | measured / predicted | PyTorch | |"]
    lines += ["|---|---:|---:|---:|---:|---:|---|"]
    for one in found:
        name = f"| {one.name} | {one.samples:,} |"
        if one.fault:
            lines.append(f"{name} - | - | - | - | {one.fault} |")
            continue
        predicted = (
            "- | -" if one.predicted is None else f"{1e3 * one.predicted:.3f} | {one.triton / one.predicted:.2f}"
        )
        verdict = f"{one.torch / one.triton:.2f} x as fast as PyTorch"
        lines.append(f"{name} {1e3 * one.triton:.3f} | {predicted} | {1e3 * one.torch:.3f} | {verdict} |")
    lines.append("")
    for kind in dict.fromkeys(one.kind for one in found):
        of_kind = [one for one in found if one.kind == kind]
        rivals = beside(benchmarks, kind) if benchmarks else []
        if rivals:
            lines += [f"| {kind} | Triton | fastest other way | |", "|---|---:|---:|---|"]
            for group, ours, other, seconds in rivals:
                lines.append(f"| {group} | {1e3 * ours:.3f} | {1e3 * seconds:.3f} | {seconds / ours:.2f} x {other} |")
            lines.append("")
        lines += [f"**{kind}**: {verdict_of(of_kind, rivals)}", ""]
    return "\n".join(lines)


def beside(benchmarks: Results, kind: str) -> list[tuple[str, float, str, float]]:
    """Groups of dreams in which ours was timed: its median, and the fastest other way with its own."""
    rows = [row for row in benchmarks.rows if row.facts["suite"] == "dreams" and row.facts["kind"] == kind]
    found = []
    for group in dict.fromkeys(row.group for row in rows):
        ours = benchmarks.find(group, OURS)
        others = [row for row in rows if row.group == group and row.contender != OURS]
        if ours and others:
            best = min(others, key=lambda row: row.median)
            found.append((group, ours.median, best.contender, best.median))
    return found


def verdict_of(found: Sequence[Fate], rivals: Sequence[tuple[str, float, str, float]]) -> str:
    if any(one.fault and one.fault != LEFT_OUT for one in found):
        return "goes unless it is mended: it is wrong"
    measured = [one for one in found if not one.fault]
    if not measured:
        return "undecided: nothing was measured"
    if not any(one.faster for one in measured):
        return "goes: it is faster than PyTorch's form in no case"
    if rivals and not any(ours < seconds for _, ours, _, seconds in rivals):
        return "goes: some other way is faster in every group"
    slower = [one.name for one in measured if not one.faster]
    return "stays" + (f"; PyTorch's form is faster for {', '.join(slower)}" if slower else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="what was found (.json), or what it decides (.md)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no case after this")
    parser.add_argument("--from", type=Path, dest="source", help="decide by what was found before")
    parser.add_argument("--benchmarks", type=Path, help="results of the benchmarks, to decide by them too")
    given = parser.parse_args()
    if given.source:
        document = json.loads(given.source.read_text())
        found = [Fate(**one) for one in document["fates"]]
        text = table(found, document["card"], read(given.benchmarks) if given.benchmarks else None)
        given.to.write_text(text)
        print(text, end="")
        return 0
    if not torch.cuda.is_available():
        print("error: this machine has no usable CUDA device", file=sys.stderr)
        return 2
    set_exact_arithmetic()
    return measure(CASES, torch.device("cuda", torch.cuda.current_device()), given.seconds, given.to)


if __name__ == "__main__":
    sys.exit(main())
