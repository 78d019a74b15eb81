"""What the compiler makes of the Triton kernels, for NVIDIA targets, on any machine: no GPU is needed.

    python -m bench.compiled [--every] [--targets 80 90] [--to FILE] [--page docs/compiled.md]

The launches are the ones that the learner makes (`mygo_edge.kernels.dream_triton.launches`), compiled by Triton and
ptxas for a target that a stand-in for Triton's driver names. Faults, and exit status 1: a kernel that does not compile,
needs more shared memory than a block can have, spills registers in a configuration that the learner uses by default,
or makes its noise with a fused or approximate operation.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from bench.cases import Case, cases
from mygo_edge.kernels.dream_triton import launches
from mygo_edge.kernels.launch import Launch
from mygo_edge.kernels.layout import layout_of_counts, position_of


@dataclass(frozen=True, slots=True)
class Card:
    """Of one compute capability: most shared memory of a block and of a multiprocessor in bytes (the CUDA C++
    Programming Guide, table of technical specifications), most threads and blocks of a multiprocessor.
    """

    block_shared: int
    shared: int
    threads: int
    blocks: int


CARDS = {
    80: Card(163 << 10, 164 << 10, 2048, 32),
    86: Card(99 << 10, 100 << 10, 1536, 16),
    89: Card(99 << 10, 100 << 10, 1536, 24),
    90: Card(227 << 10, 228 << 10, 2048, 32),
    100: Card(227 << 10, 228 << 10, 2048, 32),
    120: Card(99 << 10, 100 << 10, 1536, 24),
}
REGISTERS = 65536  # 32-bit registers of a multiprocessor
# In what makes noise, all that must not be there. Tanh and the inverse power are no noise: what they are made of is
# named apart (a power other than 1 and 1/2 has a logarithm that flushes to zero, as no product of Triton's own does).
FUSED = r"\b(?:fma|mad)\.r[nzmp](?:\.ftz)?\.f32\b"
APPROXIMATE = r"\b(?:lg2|ex2|sin|cos|rsqrt|sqrt|rcp|div|tanh)\.(?:approx|full)[.\w]*|\b\w+\.(?:\w+\.)*ftz[.\w]*"
AFTER_NOISE = {"base": set(), "perceptron": {"ex2.approx", "div.full"}, "gaussian": {"ex2.approx", "fma.rn.ftz.f32"}}


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel for one target. Bytes are of a block (shared) and of a thread (spilt); blocks_at_once are those that
    fit on a multiprocessor; wide_loads is the share of loads from memory that move 16 bytes a thread.
    """

    kernel: str
    case: str
    default: bool
    target: int
    grid: str
    registers: int
    spilt: int
    shared: int
    products: str
    warps: int
    blocks_at_once: int
    wide_loads: float
    faults: list[str]


class StandIn:
    """Triton's driver as far as compiling needs it."""

    def __init__(self, target: int) -> None:
        self.target = target

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.target, 32)

    def get_current_device(self) -> int:
        return self.target  # Triton keeps what it compiled by device

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_case(case: Case, target: int) -> Iterator[Compiled]:
    """Every kernel that a case launches on a target, once each."""
    driver.set_active(StandIn(target))
    seen = set()
    for launch in launches_of(case, target):
        try:
            kernel = launch.kernel.run(*launch.arguments, grid=launch.grid, warmup=True, **launch.options)
        except Exception as error:  # whatever the compiler says is the answer
            first = next(iter(str(error).strip().splitlines()), "")
            fault = f"{type(error).__name__}: {first[:200]}"
            yield Compiled(launch.name, case.name, case.default, target, "", 0, 0, 0, "", 0, 0, 0.0, [fault])
            continue
        if kernel.hash not in seen:
            seen.add(kernel.hash)
            yield judged(kernel, launch, case, target)


def launches_of(case: Case, target: int) -> list[Launch]:
    """What the learner launches for a case, on CPU tensors."""
    stack, cpu = case.stack(), torch.device("cpu")
    layout = layout_of_counts((case.each,) * len(stack), case.steps, (0, 1), cpu)
    batch = len(layout.samples)
    images = torch.empty((batch, *stack.dream_shape), dtype=case.dtype)
    answer = images, torch.empty(batch, dtype=torch.int64), torch.empty((2, batch), dtype=torch.int64)
    return list(launches(stack, layout, position_of(0, 0, 0, cpu), answer, target))


def judged(kernel: Any, launch: Launch, case: Case, target: int) -> Compiled:
    card, ptx, shared = CARDS[target], kernel.asm["ptx"], kernel.metadata.shared
    registers, spilt = resources(kernel.asm["cubin"])
    threads = 32 * kernel.metadata.num_warps
    at_once = min(
        REGISTERS // (-(-registers // 8) * 8 * threads),
        card.shared // (shared + 1024),  # the system keeps 1 KiB a block
        card.threads // threads,
        card.blocks,
    )
    faults = []
    if shared > card.block_shared:
        faults.append(f"{shared} bytes of shared memory, of {card.block_shared}")
    if spilt and case.default:
        faults.append(f"spills {spilt} bytes of registers a thread")
    if launch.name in AFTER_NOISE and (found := inexact(ptx, AFTER_NOISE[launch.name])):
        faults.append(f"noise is not exact: {found}")
    loads = re.findall(r"ld\.global[^;]*|cp\.async\.c[ag][^;]*", ptx)
    wide = sum(".v4.b32" in load or ".v2.b64" in load or " 0x10," in load or ", 16" in load for load in loads)
    return Compiled(
        launch.name, case.name, case.default, target, "x".join(map(str, launch.grid)), registers, spilt, shared,
        products(ptx), kernel.metadata.num_warps, at_once, round(wide / max(1, len(loads)), 2), faults,
    )  # fmt: skip


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of local memory a thread, which is where registers are spilt to."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(tool, check=True, capture_output=True, text=True).stdout
    numbers = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", said)}
    return numbers["REG"], numbers["STACK"] + numbers["LOCAL"]


def products(ptx: str) -> str:
    """What `tl.dot` became: the fastest kind of matrix instruction, or none."""
    for kind in ("tcgen05.mma", "wgmma.mma_async", "mma.sync"):
        if kind in ptx:
            return kind
    return "-"


def inexact(ptx: str, allowed: set[str]) -> str:
    """Operations of a kernel with noise that do not round as numpy's; empty when all do."""
    named = {*re.findall(FUSED, ptx), *re.findall(APPROXIMATE, ptx)}
    found = {name for name in named if not any(name.startswith(good) for good in allowed)}
    roots, quotients = ptx.count("sqrt.rn.f32"), ptx.count("div.rn.f32")
    if not roots == quotients > 0:  # one of each a pair of normals
        found.add(f"{roots} exact roots and {quotients} exact quotients")
    return ", ".join(sorted(found))


def page(found: list[Compiled], every: bool) -> str:
    """The page of what was compiled, in Markdown: a row a kernel and case, a column a target."""
    targets = sorted({row.target for row in found})
    cells: dict[tuple[str, str, bool], dict[int, list[str]]] = {}
    for row in found:
        kind = row.products.split(".")[0] if row.products != "-" else "no matrix units"
        cell = f"{row.registers} / {row.spilt} / {row.shared / 1024:.0f}K / {row.blocks_at_once}, {kind}"
        by_target = cells.setdefault((row.kernel, row.case, row.default), {})
        by_target.setdefault(row.target, []).append("; ".join([cell, *row.faults]))
    lines = [
        f"| kernel | case | {' | '.join(f'sm_{target}' for target in targets)} |",
        "|---|---|" + "---|" * len(targets),
    ]
    for (kernel, case, default), by_target in cells.items():
        name = f"**{case}**" if default else case
        per_target = [" <br> ".join(by_target.get(target, [])) for target in targets]
        lines.append(f"| {kernel} | {name} | {' | '.join(per_target)} |")
    command = "python -m bench.compiled" + " --every" * every
    return (
        f"""# What the compiler makes of the kernels

Made by `{command}` with PyTorch {torch.__version__} and Triton {triton.__version__}, without a GPU: the kernels are
compiled for each target, and have **not yet run on a GPU**. In a cell: registers a thread / bytes spilt a thread /
shared memory a block / blocks at once on a multiprocessor, and the kind of matrix instruction. **Bold** is what the
learner launches by default; there, spills are a fault. A kernel with several layers has a line for each.

"""
        + "\n".join(lines)
        + "\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", action="store_true", help="every configuration, not only the learner's default")
    parser.add_argument("--targets", type=int, nargs="+", default=list(CARDS), choices=CARDS)
    parser.add_argument("--to", type=Path, help="write what was found to this JSON file")
    parser.add_argument("--page", type=Path, help="write it as a page to this Markdown file")
    given = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("TRITON_INTERPRET=1 interprets the kernels instead of compiling them; unset it")
    torch.set_num_threads(1)
    chosen = [case for case in cases() if given.every or case.default]
    found = [row for case in chosen for target in given.targets for row in compile_case(case, target)]
    if given.to:
        versions = {"torch": torch.__version__, "triton": triton.__version__}
        given.to.write_text(json.dumps({**versions, "kernels": [asdict(row) for row in found]}, indent=1) + "\n")
    if given.page:
        given.page.write_text(page(found, given.every))
    faults = [f"sm_{row.target} {row.kernel}, {row.case}: {fault}" for row in found for fault in row.faults]
    print(f"{len(found)} kernels, {len(faults)} faults", *faults, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
