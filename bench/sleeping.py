"""What a step of the sleep costs: the published algorithm's, ours, and ours with each means of making it faster.

    python bench/sleeping.py --out bench/results/cpu-DATE [--beside "what else ran"] [--data-root DIR]

One call gives everything on whatever device there is: milliseconds a step at several batch sizes, kernel launches, the
share of the arithmetic floor, cost and memory against the number of tasks and, with --data-root, the wall time of a
whole Split-MNIST run. A variant is timed only after it has learnt what the plain one learns; what cannot run here is
listed with the reason.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.measuring import PeakMemory, clock, matmul_rate, quantiles, surroundings, write_table
from mygo_edge.kernels.backend import BackendError, choose_backend
from mygo_edge.learn.lessons import Lessons, plan_dreams
from mygo_edge.learn.methods import new_net
from mygo_edge.learn.phase import Phase, Stateful
from mygo_edge.learn.reference import PublishedGenerator, Reference
from mygo_edge.learn.sleep import flat_features, sleep
from mygo_edge.model.gan import Generator
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.model.network import FEATURES, NeocortexNet, Shape
from mygo_edge.options import SleepOptions, StepMode, TrainOptions
from mygo_edge.run.allocator import keep_freed_memory

SHAPE: Shape = (1, 28, 28)
BATCHES = (128, 512, 4096)
TASKS = (5, 10, 20, 50, 100, 200)
TOLERANCE = 2e-3  # of the features' change, between a variant and the plain one after GATE_STEPS steps
GATE_STEPS = 3
AHEAD_MEGABYTES = 8.0  # a quarter of the learner's default, so that a few windows are soon timed


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the sleep's steps."""

    name: str
    ahead: bool = False
    step: StepMode = "eager"
    backend: str = "torch"


PLAIN = Variant("plain")
VARIANTS = (
    PLAIN,
    Variant("ahead", ahead=True),
    Variant("compiled", ahead=True, step="compile"),
    Variant("graph", ahead=True, step="graph"),
    Variant("graph + fused", ahead=True, step="graph", backend="triton"),
)


class TimedPhase(Phase):
    """Takes `steps` steps, whatever the phase wants, and times blocks of them after the first block."""

    def __init__(self, device: torch.device, steps: int, block: int, step_mode: StepMode = "eager") -> None:
        super().__init__(device, 0, step_mode=step_mode)
        self.taken, self.block = steps, block
        self.milliseconds: list[float] = []  # a step, of each block
        self.notes: list[str] = []

    def steps(self, total: int, **state: Stateful) -> Iterator[int]:
        started = 0.0
        for step in range(self.taken):
            if step % self.block == 0:
                now = clock(self.device)
                if step > self.block:  # the first block warms up
                    self.milliseconds.append((now - started) / self.block * 1e3)
                started = now
            yield step
        self.milliseconds.append((clock(self.device) - started) / self.block * 1e3)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def log(self, step: int, **losses: torch.Tensor) -> dict[str, float]:
        return {}


@dataclass(frozen=True, slots=True)
class Problem:
    """A learner just before the sleep of its last task. Weights are random: the arithmetic is the same."""

    net: NeocortexNet
    expert: NeocortexNet
    memory: GenerativeMemory


def problem(tasks: int, device: torch.device) -> Problem:
    net = new_net(SHAPE, 0, device)
    memory = GenerativeMemory(SHAPE)
    torch.manual_seed(0)
    for _ in range(tasks):
        net.add_task_head(2)
        memory.add(Generator(SHAPE, 2).eval().freeze())
    expert = deepcopy(net)
    return Problem(net, expert, memory.to(device))


def obstacle(variant: Variant, device: torch.device) -> str | None:
    """Why a variant cannot run here, or None."""
    if variant.step == "graph" and device.type != "cuda":
        return "CUDA graphs need CUDA; not yet run on a GPU"
    try:
        choose_backend(variant.backend, device.type)
    except BackendError as error:
        return str(error)
    return None


def sleep_options(variant: Variant, batch: int) -> SleepOptions:
    return replace(SleepOptions(), batch_size=batch, ahead_megabytes=AHEAD_MEGABYTES if variant.ahead else 0.0)


def run_sleep(variant: Variant, given: Problem, batch: int, phase: TimedPhase) -> tuple[torch.Tensor, float]:
    """Features after the sleep's steps, and the last loss."""
    net = deepcopy(given.net)
    given.memory.backend = variant.backend
    options = replace(sleep_options(variant, batch), steps=phase.taken)
    report = sleep(net, deepcopy(given.expert), given.memory, options, phase)
    return flat_features(net), report.loss_last


def gate(variant: Variant, given: Problem, batch: int, device: torch.device) -> str | None:
    """What is wrong with what a variant learns in a few steps, against the plain one; None when nothing is."""
    start = flat_features(given.net)
    expected, _ = run_sleep(PLAIN, given, batch, TimedPhase(device, GATE_STEPS, GATE_STEPS))
    phase = TimedPhase(device, GATE_STEPS, GATE_STEPS, variant.step)
    found, _ = run_sleep(variant, given, batch, phase)
    error = float((found - expected).norm() / (expected - start).norm())
    if not error < TOLERANCE:
        return f"the features differ from the plain sleep's by {error:.1e} of their change"
    return "; ".join(phase.notes) or None


def window_of(variant: Variant, given: Problem, batch: int) -> int:
    """Steps that a variant prepares at once: the block to time, so that preparing counts."""
    if not variant.ahead:
        return max(1, 640 // batch)
    plan = plan_dreams(len(given.memory), 0, batch)
    ahead = Lessons(
        given.memory, plan, given.net.features, given.net.features, new_task=0, seed=0, stream=0, share=0.0,
        ahead_bytes=AHEAD_MEGABYTES * 1e6,
    )  # fmt: skip
    return ahead.rounds_ahead * plan.steps


def measure_variant(variant: Variant, given: Problem, batch: int, device: torch.device, blocks: int) -> dict[str, Any]:
    """Milliseconds a step as median and 20 and 80 % quantiles, or the reason why there are none."""
    result: dict[str, Any] = {"variant": variant.name, "batch": batch, "tasks": len(given.memory)}
    reason = obstacle(variant, device) or gate(variant, given, batch, device)
    if reason:
        return {**result, "skipped": reason}
    block = max(1, window_of(variant, given, batch))
    phase = TimedPhase(device, block * (blocks + 1), block, variant.step)
    with PeakMemory(device) as memory:
        run_sleep(variant, given, batch, phase)
    result |= {"steps_ahead": block if variant.ahead else 1, "peak_megabytes": memory.megabytes}
    result |= quantiles(phase.milliseconds)
    if device.type == "cuda":
        result["launches"] = launches(variant, given, batch, device)
    return result


def measure_reference(batch: int, device: torch.device, blocks: int, tasks: int = 5) -> dict[str, Any]:
    """The published algorithm's eager step, with its own generators and its own batch or another.

    It does less: a perceptron dreams, and no gradient goes through the features.
    """
    import mygo_edge.learn.reference as published

    method = Reference(SHAPE, TrainOptions(), device)
    method.net.features.requires_grad_(False)  # as its wake leaves them, for good
    torch.manual_seed(0)
    for _ in range(tasks):
        method.net.add_task_head(2)
        method.generators.append(PublishedGenerator(SHAPE, 2).to(device).requires_grad_(False))
    block = max(1, 2560 // batch)
    phase = TimedPhase(device, block * (blocks + 1), block)
    before, published.BATCH = published.BATCH, batch
    try:
        method._sleep(tasks - 1, phase)
    finally:
        published.BATCH = before
    return {"variant": "reference", "batch": batch, "tasks": tasks, **quantiles(phase.milliseconds)}


def launches(variant: Variant, given: Problem, batch: int, device: torch.device) -> float:
    """Kernel, copy and graph launches a step on CUDA, by the profiler: more steps minus fewer."""

    def count(steps: int) -> int:
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            run_sleep(variant, given, batch, TimedPhase(device, steps, steps, variant.step))
        names = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
        return sum(event.count for event in profile.key_averages() if event.key.startswith(names))

    window = max(1, window_of(variant, given, batch))
    return (count(3 * window) - count(window)) / (2 * window)


def floor(given: Problem, batch: int) -> dict[str, float]:
    """The least that a step has to do: floating-point operations, and bytes that must move at least once."""
    device = next(given.net.parameters()).device
    images = torch.zeros(batch, *SHAPE, device=device)

    def operations(work: Any) -> int:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    with torch.no_grad():
        ids = torch.zeros(batch, dtype=torch.int64, device=device)
        dreaming = operations(lambda: given.memory.generators[0](torch.zeros(batch, 64, device=device), ids))
        teaching = operations(lambda: given.net.features(images))
    net = deepcopy(given.net).requires_grad_(True)
    learning = operations(lambda: net(images).sum().backward())
    weights = sum(parameter.numel() for parameter in net.parameters())
    # Images and teacher's features are written once and read once or twice; weights, gradients and Adam's two
    # averages are read and written once.
    moved = 4 * (batch * (3 * images[0].numel() + 2 * FEATURES) + 8 * weights)
    return {"flop": dreaming + teaching + learning, "bytes": moved}


def measure_steps(device: torch.device, batches: tuple[int, ...] = BATCHES, blocks: int = 5) -> list[dict[str, Any]]:
    """A row for every variant and batch size, with the share of the arithmetic floor."""
    given, peak, rows = problem(5, device), matmul_rate(device), []
    for batch in batches:
        least = floor(given, batch)
        found = [measure_reference(batch, device, blocks)]
        found += [measure_variant(variant, given, batch, device, blocks) for variant in VARIANTS]
        for row in found:
            if "ms" in row and row["variant"] != "reference":
                row |= least
                row["floor_ms"] = least["flop"] / peak * 1e3
                row["share_of_floor"] = row["floor_ms"] / row["ms"]
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def measure_tasks(
    device: torch.device, tasks: tuple[int, ...] = TASKS, batch: int = 256, blocks: int = 3
) -> list[dict[str, Any]]:
    """Cost and memory of a step with a fixed batch against the number of tasks."""
    rows = []
    best = VARIANTS[1] if device.type == "cpu" else VARIANTS[3]
    for count in tasks:
        row = measure_variant(best, problem(count, device), batch, device, blocks)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def measure_run(data_root: str, out: Path, preset: str) -> dict[str, Any]:
    """Wall time of a whole Split-MNIST run of MyGO."""
    command = ["-m", "mygo_edge.train", "--dataset", "mnist", "--preset", preset, "--methods", "mygo"]
    command += ["--measure.no-dreams"]
    folder = out / "run"
    started = time.monotonic()
    subprocess.run([sys.executable, *command, "--data-root", data_root, "--out", str(folder)], check=True)
    seconds = time.monotonic() - started
    results = json.loads((folder / "summary.json").read_text())["methods"]["mygo"]
    averages = {key: results[key]["average"] for key in ("task_known", "task_unknown")}
    words = "python " + " ".join(command) + " --data-root DIR"
    return {"command": words, "wall_seconds": seconds, "seconds": results["seconds"], "average": averages}


def plot(document: dict[str, Any], path: Path) -> None:
    """Milliseconds by variant and batch, and against the number of tasks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    timed = [row for row in document["steps"] if "ms" in row]
    for name in dict.fromkeys(row["variant"] for row in timed):
        rows = [row for row in timed if row["variant"] == name]
        left.plot([row["batch"] for row in rows], [row["ms"] for row in rows], "o-", label=name)
    left.set(xscale="log", yscale="log", xlabel="dreams a step", ylabel="milliseconds a step", title="Step of a sleep")
    batches = sorted({row["batch"] for row in timed})
    left.set_xticks(batches, map(str, batches))
    left.minorticks_off()
    if timed:
        left.legend()
    rows = [row for row in document["tasks"] if "ms" in row]
    if rows:
        right.plot([row["tasks"] for row in rows], [row["ms"] for row in rows], "o-", label="milliseconds a step")
        right.plot([row["tasks"] for row in rows], [row["peak_megabytes"] for row in rows], "s--", label="peak MB")
        right.set(xlabel="tasks", title=f"{rows[0]['batch']} dreams a step, over all tasks", ylim=(0, None))
        right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(document: dict[str, Any], out: Path) -> None:
    """sleeping.json, sleeping.csv and sleeping.png in the folder `out`."""
    rows = [{"table": name, **row} for name in ("steps", "tasks") for row in document[name]]
    write_table(rows, document, out, "sleeping")
    plot(document, out / "sleeping.png")


def measure(
    device: torch.device,
    batches: tuple[int, ...] = BATCHES,
    tasks: tuple[int, ...] = TASKS,
    blocks: int = 5,
    beside: str = "",
) -> dict[str, Any]:
    """All of it but the whole run, as one document."""
    keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    around = {**surroundings(device, beside), "ahead_megabytes": AHEAD_MEGABYTES}
    document = {"surroundings": around, "variants": [asdict(variant) for variant in VARIANTS]}
    by_tasks = measure_tasks(device, tasks, blocks=blocks)  # first: a process keeps the memory of larger batches
    return {**document, "steps": measure_steps(device, batches, blocks), "tasks": by_tasks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for sleeping.json, .csv and .png")
    parser.add_argument("--batches", type=int, nargs="*", default=list(BATCHES))
    parser.add_argument("--tasks", type=int, nargs="*", default=list(TASKS))
    parser.add_argument("--blocks", type=int, default=5, help="blocks of steps that are timed")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, for the record")
    parser.add_argument("--data-root", help="folder with MNIST/raw: measure a whole run too")
    parser.add_argument("--work", type=Path, default=Path("runs/sleeping"), help="folder of the whole run")
    parser.add_argument("--preset", default="best", help="of the whole run")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    document = measure(device, tuple(given.batches), tuple(given.tasks), given.blocks, given.beside)
    document["command"] = "python bench/sleeping.py " + " ".join(
        part if part != given.data_root else "DIR" for part in sys.argv[1:]
    )
    write(document, given.out)
    if given.data_root:
        document["run"] = measure_run(given.data_root, given.work, given.preset)
        write(document, given.out)


if __name__ == "__main__":
    main()
