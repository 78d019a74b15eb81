"""Dreams a second: the fused kernels against what one would otherwise write, from 1 to 100 tasks.

    python bench/dreaming.py --out bench/results/cpu-DATE [--beside "what else ran"]

Contenders: a loop over the tasks' generators, with PyTorch's own noise; all tasks at once with `torch.func.vmap` (for
perceptrons that is `baddbmm`); the same through `torch.compile(mode="max-autotune")`; ours in PyTorch; ours in Triton.
A contender is timed only after its images for given noise are those of the loop; one that cannot run is listed with
the reason.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.measuring import PeakMemory, copy_bandwidth, matmul_rate, milliseconds, quantiles, surroundings, write_table
from mygo_edge.kernels.backend import BackendError, choose_backend
from mygo_edge.model.gan import LATENT, Generator
from mygo_edge.model.memory import GenerativeMemory

CONTENDERS = ("loop", "vmap", "compiled", "ours, torch", "ours, triton")
SHAPE = (1, 28, 28)
CLASSES = 2
KINDS = ("perceptron", "convolutional")
TASKS = (1, 5, 100)
BATCHES = {"cuda": (128, 8192, 2**20), "cpu": (128, 4096)}
WIDTH = {"perceptron": 128, "convolutional": 64}  # the published generator's hidden layer; the learner's default
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # relative root mean square against float32

Images = Callable[[Tensor, Tensor], Tensor]  # z [tasks, n, latent] and class ids [tasks, n] -> images


def memory_of(kind: str, tasks: int, device: torch.device) -> GenerativeMemory:
    """Generators with random weights: the arithmetic is the same."""
    memory = GenerativeMemory(SHAPE)
    torch.manual_seed(0)
    for _ in range(tasks):
        memory.add(Generator(SHAPE, CLASSES, WIDTH[kind], kind).eval().freeze())  # type: ignore[arg-type]
    return memory.to(device)


def loop_of(memory: GenerativeMemory, dtype: torch.dtype) -> Images:
    """One generator after another, as the published code does."""
    members = [member.to(dtype) for member in memory_copy(memory)]

    def images(z: Tensor, ids: Tensor) -> Tensor:
        return torch.cat([member(z[task], ids[task]) for task, member in enumerate(members)])

    return images


def memory_copy(memory: GenerativeMemory) -> list[Any]:
    return [type(member).from_tensors(member.shape, member.state_dict()) for member in memory.generators]


def vmap_of(memory: GenerativeMemory, dtype: torch.dtype) -> Images:
    """All tasks at once over stacked weights."""
    stack = memory.stack
    stride, padding = memory.generators[0].stride_and_padding
    base, *weights = (part.to(dtype) for part in (stack.base_weight, *stack.weights))
    biases = [bias.to(dtype) for bias in stack.biases]
    by_class = stack.class_bias.to(dtype).unflatten(0, (len(stack), CLASSES))
    convolve = torch.func.vmap(lambda x, w, b: F.conv_transpose2d(x, w, b, stride=stride, padding=padding))

    def images(z: Tensor, ids: Tensor) -> Tensor:
        rows = by_class.gather(1, ids[..., None].expand(-1, -1, by_class.shape[2]))
        hidden = torch.baddbmm(rows, z, base)
        if stack.base_size == (1, 1):
            dense = weights[0].flatten(2)  # [tasks, hidden, pixels]
            bias = biases[0].repeat_interleave(dense.shape[2] // biases[0].shape[1], 1)
            return torch.baddbmm(bias[:, None], F.relu(hidden), dense).tanh().unflatten(2, SHAPE).flatten(0, 1)
        hidden = hidden.unflatten(2, (-1, *stack.base_size))
        for weight, bias in zip(weights, biases, strict=True):
            hidden = convolve(F.relu(hidden), weight, bias)
        return hidden.tanh().flatten(0, 1)

    return images


def with_noise(images: Images, tasks: int, each: int, dtype: torch.dtype, device: torch.device) -> Callable[[], Tensor]:
    """`images` of PyTorch's own noise."""

    def dream() -> Tensor:
        z = torch.randn(tasks, each, LATENT, device=device, dtype=dtype)
        return images(z, torch.randint(CLASSES, (tasks, each), device=device))

    return dream


def contenders(
    memory: GenerativeMemory, each: int, dtype: torch.dtype, device: torch.device, compiled: bool
) -> dict[str, tuple[Images | None, Callable[[], Any]]]:
    """Name -> (images of given noise for the gate, or None for ours, and what is timed)."""
    tasks = len(memory)
    loop, vmap = loop_of(memory, dtype), vmap_of(memory, dtype)
    found: dict[str, tuple[Images | None, Callable[[], Any]]] = {
        "loop": (loop, with_noise(loop, tasks, each, dtype, device)),
        "vmap": (vmap, with_noise(vmap, tasks, each, dtype, device)),
    }
    if compiled:
        fast = torch.compile(vmap, mode="max-autotune", dynamic=False)
        found["compiled"] = (fast, with_noise(fast, tasks, each, dtype, device))
    step = torch.zeros((), dtype=torch.int64, device=device)

    def ours(backend: str) -> Callable[[], Any]:
        return lambda: memory.dream([each] * tasks, seed=0, stream=0, step=step, dtype=dtype, backend=backend)

    return found | {"ours, torch": (None, ours("torch")), "ours, triton": (None, ours("triton"))}


def gate(name: str, images: Images | None, timed: Callable[[], Any], memory: GenerativeMemory, each: int, dtype: torch.dtype) -> str | None:  # fmt: skip  # noqa: E501
    """What is wrong with a contender's images, or None. Ours is checked on its own noise, in float32 by PyTorch."""
    device, tasks = memory.stack.base_weight.device, len(memory)
    if images is None:
        key = {"seed": 0, "stream": 0, "step": 0}
        found = timed().images.float()
        expected = memory.dream([each] * tasks, **key, backend="torch").images
    else:
        z = torch.randn(tasks, each, LATENT, device=device)
        ids = torch.randint(CLASSES, (tasks, each), device=device)
        found = images(z.to(dtype), ids).float()
        expected = loop_of(memory, torch.float32)(z, ids)
    error = float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    return None if error < TOLERANCE[dtype] else f"{name} is off by {error:.1e} (relative root mean square)"


def measure_dreams(
    device: torch.device, limits: dict[str, float], dtype: torch.dtype, *, seconds: float = 400.0, quick: bool = False
) -> list[dict[str, Any]]:
    """A row a contender, architecture, number of tasks and batch size. No contender is begun after `seconds`."""
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    for kind in KINDS:
        for tasks in TASKS:
            memory = memory_of(kind, tasks, device)
            for batch in BATCHES[device.type][: 1 if quick else None]:
                each = max(1, batch // tasks)
                least = floor(memory, each * tasks, dtype, limits)
                compiled = not quick and tasks == 5  # each takes the compiler up to a minute
                for name, (images, timed) in contenders(memory, each, dtype, device, compiled).items():
                    where = {"kind": kind, "tasks": tasks, "batch": each * tasks, "dtype": str(dtype), "name": name}
                    rows.append({**where, **measure(name, images, timed, memory, each, dtype, until), **least})
                    if "ms" in rows[-1]:
                        rows[-1]["dreams_per_second"] = each * tasks / rows[-1]["ms"] * 1e3
                        rows[-1]["share_of_bandwidth"] = least["bandwidth_floor_ms"] / rows[-1]["ms"]
                        rows[-1]["share_of_arithmetic"] = least["arithmetic_floor_ms"] / rows[-1]["ms"]
                    print(json.dumps(rows[-1]), flush=True)
                torch.compiler.reset()
    return rows


@torch.inference_mode()
def measure(
    name: str, images: Images | None, timed: Callable[[], Any], memory: GenerativeMemory, each: int,
    dtype: torch.dtype, until: float,
) -> dict[str, Any]:  # fmt: skip
    """Milliseconds and peak memory, or why there are none."""
    device = memory.stack.base_weight.device
    if time.monotonic() > until:
        return {"skipped": "the time given to the measurement was over"}
    try:
        if name == "ours, triton":
            choose_backend("triton", device.type)
        if wrong := gate(name, images, timed, memory, each, dtype):
            return {"skipped": wrong}
    except BackendError as error:
        return {"skipped": str(error)}
    except (RuntimeError, torch._dynamo.exc.BackendCompilerFailed) as error:
        return {"skipped": str(error).splitlines()[0][:200]}
    with PeakMemory(device) as memory_used:
        times = milliseconds(timed, device)
    return {**quantiles(times), "peak_megabytes": memory_used.megabytes}


def floor(memory: GenerativeMemory, batch: int, dtype: torch.dtype, limits: dict[str, float]) -> dict[str, float]:
    """The least time: images written and weights read once, and the generators' multiplications and additions."""
    weights = sum(tensor.numel() * 4 for member in memory.generators for tensor in member.buffers())
    size = torch.empty((), dtype=dtype).element_size()
    moved = batch * SHAPE[0] * SHAPE[1] * SHAPE[2] * size + weights
    device = memory.stack.base_weight.device
    with FlopCounterMode(display=False) as counter:
        memory.generators[0](torch.zeros(1, LATENT, device=device), torch.zeros(1, dtype=torch.int64, device=device))
    return {
        "bytes": moved,
        "flop": batch * counter.get_total_flops(),
        "bandwidth_floor_ms": moved / limits["bytes_per_second"] * 1e3,
        "arithmetic_floor_ms": batch * counter.get_total_flops() / limits["flop_per_second"] * 1e3,
    }


def limits_of(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """The machine at its best: copy bandwidth, and matrix products in the precision of the dreams."""
    return {"bytes_per_second": copy_bandwidth(device), "flop_per_second": matmul_rate(device, dtype)}


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Dreams a second against the batch, a panel an architecture and number of tasks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(KINDS), len(TASKS), figsize=(12, 6.5), sharex=True, squeeze=False)
    for line, kind in zip(panels, KINDS, strict=True):
        for panel, tasks in zip(line, TASKS, strict=True):
            here = [row for row in rows if (row["kind"], row["tasks"]) == (kind, tasks) and "ms" in row]
            for name in dict.fromkeys(row["name"] for row in here):
                points = [(row["batch"], row["dreams_per_second"]) for row in here if row["name"] == name]
                panel.plot(*zip(*points, strict=True), "o-", label=name, color=f"C{CONTENDERS.index(name)}")
            panel.set(xscale="log", yscale="log", title=f"{kind}, {tasks} task{'s' * (tasks > 1)}")
    panels[0][1].legend()  # where all contenders are
    panels[0][0].set_ylabel("dreams a second")
    panels[1][0].set_ylabel("dreams a second")
    for panel in panels[1]:
        panel.set_xlabel("dreams a call")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(rows: list[dict[str, Any]], limits: dict[str, float], about: dict[str, Any], out: Path) -> None:
    """dreaming.json, .csv and .png in the folder `out`."""
    write_table(rows, {**about, "limits": limits, "rows": rows}, out, "dreaming")
    plot(rows, out / "dreaming.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for dreaming.json, .csv and .png")
    parser.add_argument("--seconds", type=float, default=400.0, help="begin no measurement after this")
    parser.add_argument("--quick", action="store_true", help="the smallest batch only, nothing compiled")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, for the record")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    limits = limits_of(device, dtype)
    rows = measure_dreams(device, limits, dtype, seconds=given.seconds, quick=given.quick)
    command = "python bench/dreaming.py " + " ".join(sys.argv[1:])
    write(rows, limits, {"command": command, "surroundings": surroundings(device, given.beside)}, given.out)


if __name__ == "__main__":
    main()
