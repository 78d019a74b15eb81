"""What the exact normals of dreams cost: timed on a CPU, and counted in what ptxas makes of them for a card.

    OMP_NUM_THREADS=1 python -m bench.normals [--to bench/results/normals.json]

On a CPU, in seconds of one thread and in turns: a normal by `mygo_edge.kernels.noise`, one of the same words by numpy's
own logarithm, sine and cosine, the words alone, and one of numpy's generator; and a call of dreams, as it is and with
the second. For a card: instructions a normal that are executed, in kernels of nothing but noise
(bench/normals_triton.py), exact, by the card's approximate functions, and the words alone; each is the difference of
two kernels, one of which makes twice as many normals a thread, so that what surrounds them does not count.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import triton
from triton.runtime.driver import driver

from bench import normals_triton
from bench.cases import FEATURES, MNIST, Case
from bench.compiled import StandIn
from bench.measuring import surroundings
from mygo_edge.kernels import noise
from mygo_edge.kernels.dream import dream
from mygo_edge.kernels.layout import position_of
from mygo_edge.kernels.philox import open_unit

RESULTS = Path(__file__).parent / "results" / "normals.json"
COMMAND = "OMP_NUM_THREADS=1 python -m bench.normals"
SAMPLES, WIDTH = 64, 1280  # of a call: as many as PyTorch's reference makes at once
TURNS = 61
ROWS, BLOCKS, THREADS = 64, (32, 64), 128  # of a program: samples, and Philox blocks of four normals a sample
TARGETS = (80, 89, 90, 100)
CASES = (
    Case("convolutional", MNIST),
    Case("perceptron", MNIST, width=128),
    Case("gaussian", FEATURES),
)
FORMS = {"exact": normals_triton.exact_kernel, "fast": normals_triton.fast_kernel, "words": normals_triton.words_kernel}


def fast_pair(radius_words: Any, angle_words: Any, xp: Any) -> tuple[Any, Any]:
    """Box and Muller from the same bits by numpy's own functions."""
    radius, angle = (
        np.asarray(open_unit(words), np.float32) * np.float32(2.0**-24) for words in (radius_words, angle_words)
    )
    radius, angle = np.sqrt(np.float32(-2) * np.log(radius)), angle * np.float32(2 * np.pi)
    return radius * np.cos(angle), radius * np.sin(angle)


def on_a_cpu() -> dict[str, Any]:
    """Nanoseconds a normal, and milliseconds a call of dreams: medians of calls in turns."""
    samples, generator = np.arange(SAMPLES), np.random.default_rng(0)
    key: dict[str, Any] = {"seed": 1, "stream": 2, "step": 3}

    def fast(work: Callable[[], object]) -> object:
        with patch.object(noise, "normal_pair", fast_pair):
            return work()

    def normals() -> object:
        return noise.feature_noise(samples, WIDTH, **key, xp=np)

    single = in_turns(
        {
            "exact": normals,
            "fast": lambda: fast(normals),
            "words": lambda: noise._words(samples, 17, WIDTH // 4, *key.values(), np),
            "generator": lambda: generator.standard_normal((SAMPLES, WIDTH), np.float32),
        }
    )
    calls = {}
    for case in CASES:
        stack, counts = case.stack(), [case.each] * case.tasks

        def dreams(stack: Any = stack, counts: list[int] = counts) -> object:
            return dream(stack, counts, **key, backend="torch")

        taken = in_turns({"exact": dreams, "fast": lambda dreams=dreams: fast(dreams)})
        calls[f"{case.kind}, {sum(counts)}"] = {name: 1e3 * seconds for name, seconds in taken.items()}
    nanoseconds = {name: 1e9 * seconds / (SAMPLES * WIDTH) for name, seconds in single.items()}
    return {"nanoseconds_a_normal": nanoseconds, "milliseconds_of_dreams": calls}


def in_turns(works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, called in turns; of this thread alone, whatever else the machine does."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS + 2):
        for name in list(works) if turn % 2 else reversed(works):
            start = time.thread_time()
            works[name]()
            if turn > 1:
                taken[name].append(time.thread_time() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def on_a_card() -> dict[str, dict[str, dict[str, float]]]:
    """By target and form: instructions a normal (or word), and those of them that take the slow unit of functions."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    cpu = torch.device("cpu")
    for target in TARGETS:
        driver.set_active(StandIn(target))
        for name, kernel in FORMS.items():
            made = []
            for blocks in BLOCKS:
                arguments = torch.empty(ROWS), position_of(0, 0, 0, cpu), torch.zeros(ROWS, dtype=torch.int64)
                how = {"ROWS": ROWS, "BLOCKS": blocks, "num_warps": THREADS // 32, "enable_fp_fusion": name == "fast"}
                made.append(executed(kernel.run(*arguments, grid=(1,), warmup=True, **how).asm["cubin"]))
            more = (BLOCKS[1] - BLOCKS[0]) * 4 * ROWS / THREADS  # normals a thread
            few, many = made
            slow = [sum(op.startswith("MUFU") for op in ops) for ops in made]
            # Less the one addition that keeps the number.
            counts = {"instructions": (len(many) - len(few)) / more - 1, "slow": (slow[1] - slow[0]) / more}
            found.setdefault(f"sm_{target}", {})[name] = {key: round(value, 1) for key, value in counts.items()}
    return found


def executed(cubin: bytes) -> list[str]:
    """A kernel's instructions, without those that ptxas keeps for operands out of range, of which noise has none: what
    a branch over a call skips, and the functions called, which stand after the kernel's end.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = [triton.knobs.nvidia.cuobjdump.path, "--dump-sass", file.name]
        said = subprocess.run(tool, check=True, capture_output=True, text=True).stdout
    line = r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);"
    every = [(int(at, 16), name, rest) for at, name, rest in re.findall(line, said)]
    end = next(place for place, (_, name, _) in enumerate(every) if name == "EXIT")
    kernel, skipped = every[:end], set()
    for place, (_, name, _) in enumerate(kernel):
        if name.startswith("CALL"):
            start = max(before for before in range(place) if kernel[before][1] == "BRA")
            target = int(kernel[start][2].split()[-1], 16)
            skipped |= {inner for inner in range(start + 1, place + 9) if inner < end and kernel[inner][0] < target}
    return [name for place, (_, name, _) in enumerate(kernel) if place not in skipped and name != "NOP"]


def table(document: dict[str, Any]) -> str:
    """The tables of docs/performance.md."""
    cpu, card = document["cpu"], document["card"]
    single = cpu["nanoseconds_a_normal"]
    lines = [
        "| a normal | exact | fast | words alone | numpy's generator |",
        "|---|---:|---:|---:|---:|",
        f"| CPU, numpy: nanoseconds | {' | '.join(f'{single[name]:.1f}' for name in (*FORMS, 'generator'))} |",
    ]
    for target, forms in card.items():
        cells = [f"{forms[name]['instructions']:.0f} ({forms[name]['slow']:.1f})" for name in FORMS]
        lines.append(f"| {target}: instructions (of the slow unit) | {' | '.join(cells)} | |")
    lines += ["", "| dreams on a CPU | exact | fast | saved |", "|---|---:|---:|---:|"]
    for name, taken in cpu["milliseconds_of_dreams"].items():
        exact, fast = taken["exact"], taken["fast"]
        lines.append(f"| {name} | {exact:.2f} ms | {fast:.2f} ms | {100 * (1 - fast / exact):.0f} % |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=RESULTS, help=f"JSON file (default: {RESULTS.name})")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, for the record")
    given = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("TRITON_INTERPRET=1 interprets the kernels instead of compiling them; unset it")
    torch.set_num_threads(1)
    document = {
        "command": COMMAND,
        "machine": surroundings(torch.device("cpu"), given.beside),
        "cpu": on_a_cpu(),
        "card": on_a_card(),
    }
    given.to.write_text(json.dumps(document, indent=1) + "\n")
    print(table(document), end="")


if __name__ == "__main__":
    main()
