"""What an answer costs on a device, against a plain `torch.onnx.export` of the same network with onnxruntime alone.

    OMP_NUM_THREADS=1 python bench/device_latency.py [--to FILE]

A network for images of 28 x 28 pixels with five tasks of two classes, of random weights: time does not depend on what
was learnt. All ways take turns on one thread, so that other work on the machine meets all of them alike; every way is
compared with PyTorch before it is timed.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.contenders.inference import PixelClassifier, export_plainly, open_graph
from bench.written import add_option, write
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.device.graphs import ANSWER
from mygo_edge.device.session import INTEGER_WEIGHTS, Graph
from mygo_edge.domains.pixels import network
from mygo_edge.export.bundle import publish
from mygo_edge.export.checks import scaled
from mygo_edge.model.gan import Generator

SHAPE = (1, 28, 28)
TASKS = [(f"task{index}", [str(2 * index), str(2 * index + 1)]) for index in range(5)]
ROUNDS = {1: 2000, 32: 300}  # batch -> turns
LOADS = 60
LOADED = ("fp32", "int8-weights")  # the latter as a run publishes it

Answer = Callable[[np.ndarray], Any]


def ways(work: Path) -> tuple[dict[str, Answer], Path]:
    """Ways to answer, by name, each of them checked; and the bundle in fp32."""
    torch.manual_seed(0)
    net = network(SHAPE)
    for _, classes in TASKS:
        net.add_task_head(len(classes))
    net.eval().requires_grad_(False)
    generators = [Generator(SHAPE, len(classes)).eval().freeze() for _, classes in TASKS]
    example = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    export_plainly(PixelClassifier(net).eval(), (example,), ["image"], work / "plain.onnx")
    plain = open_graph((work / "plain.onnx").read_bytes())
    found: dict[str, Answer] = {"plain": lambda pixels: plain.run(None, {"image": pixels})[0].argmax(1)}
    for precision in ("fp32", "int8", "int8-weights"):
        what: dict[str, Any] = {"net": net, "generators": generators, "tasks": TASKS, "mean": [0.5], "std": [0.5]}
        # Random weights have no accuracy to lose.
        folder = publish(work / precision, **what, sequence=1, precision=precision, max_loss=1.0, beside_fp32=False)
        name = "classifier.onnx" if precision == "fp32" else f"classifier.{precision}.onnx"
        graph = Graph((folder / name).read_bytes(), name, views=[ANSWER], dequantise_once=precision in INTEGER_WEIGHTS)
        model = EdgeModel.load(work / precision, precision=precision)
        found[f"graph, {precision}"] = lambda pixels, graph=graph: graph.run(ANSWER, {"image": pixels})
        found[f"EdgeModel.predict, {precision}"] = model.predict
    check(found, net)
    return found, work / "fp32"


def check(found: dict[str, Answer], net: nn.Module) -> None:
    """Every way answers as PyTorch does: in fp32 but for ties, in int8 for most of these images of noise."""
    pixels = np.random.default_rng(1).integers(0, 256, (500, *SHAPE), dtype=np.uint8)
    with torch.inference_mode():
        expected = net(scaled(torch.from_numpy(pixels), [0.5], [0.5])).argmax(1).numpy()
    for name, way in found.items():
        answers = way(pixels)
        columns = 2 * answers[0] + answers[1] if isinstance(answers, list) and len(answers) == 2 else answers
        agreement = float(np.mean([int(column) == wanted for column, wanted in zip(columns, expected, strict=True)]))
        assert agreement >= (0.7 if "int8" in name else 0.998), (name, agreement)


def timed(found: dict[str, Answer], batch: int) -> dict[str, Any]:
    """Microseconds of each way, and how many times as fast as the plain export it is: medians."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *SHAPE), dtype=np.uint8)
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(ROUNDS[batch]):
        for name, way in found.items():
            began = time.perf_counter()
            way(pixels)
            times[name].append(time.perf_counter() - began)
    medians = {name: 1e6 * float(np.median(part)) for name, part in times.items()}
    return {name: {"us": round(value, 1), "x": round(medians["plain"] / value, 2)} for name, value in medians.items()}


def loads(bundle: Path) -> dict[str, float]:
    """Milliseconds of this process's own time, median, of loading with and without the self-test."""
    found = {}
    for name, selftest in (("with self-test", True), ("without", False)):
        times = []
        for _ in range(LOADS):
            began = time.process_time()
            EdgeModel.load(bundle, selftest=selftest)
            times.append(time.process_time() - began)
        found[name] = round(1e3 * float(np.median(times)), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        found, bundle = ways(Path(name))
        result = {
            "command": "OMP_NUM_THREADS=1 python bench/device_latency.py",
            "machine": platform.machine(),
            "versions": {"onnxruntime": onnxruntime.__version__, "torch": str(torch.__version__)},
            **{f"batch {batch}": timed(found, batch) for batch in ROUNDS},
            "load, ms of processor time": {precision: loads(bundle.parent / precision) for precision in LOADED},
        }
    write(result, options.to)


if __name__ == "__main__":
    main()
