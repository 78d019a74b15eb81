"""What precisions cost and gain on a device: the measurements behind docs/edge.md.

    OMP_NUM_THREADS=1 python bench/edge.py RUN --data-root DIR

RUN is a finished run, DIR its dataset. Every candidate is first compared with PyTorch and measured for accuracy; when
one computes something else, nothing is timed. Then all are timed in turns, in this one process, on one thread, and
bench/results/edge.json is written; `python bench/edge_page.py` makes the page from it.
"""

import argparse
import copy
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.contenders.precisions import Classifiers, Generators
from mygo_edge.data.datasets import load
from mygo_edge.data.tasks import Task, arrivals_of
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.domains.domain import LearntDomain
from mygo_edge.export.publication import publish_run, real_images
from mygo_edge.export.recipes import PRECISIONS
from mygo_edge.files import write_json
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.measure.dreams import classification_accuracy_score, label_fidelity, train_judge
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.options import MeasureOptions
from mygo_edge.run.saved import open_learner

RESULTS = Path(__file__).parent / "results" / "edge.json"
CPU = torch.device("cpu")
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("set OMP_NUM_THREADS=1: everything is measured on one thread")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.run, options.data_root, Path(folder))
    write_json(RESULTS, result)
    print(f"written to {RESULTS}")


def measure(run: Path, data_root: Path, work: Path) -> dict[str, Any]:
    saved = open_learner(run)
    assert isinstance(saved.method, MyGO), "images are measured here"
    method, train_options, names = saved.method, saved.options, saved.tasks
    for module in method.modules().values():
        module.eval().requires_grad_(False)
    files, report = export_all(run, data_root, work)
    classifiers = Classifiers(method, files, work, [name for name, _ in names])
    generators = Generators(method, files, work)
    print("checking", flush=True)
    pixels = [sample.pixels for sample in real_images(train_options, names)]
    labels = [sample.class_id for sample in real_images(train_options, names)]
    checked = {
        "classifier": classifiers.check(pixels, labels),
        "generator": generators.check(),
    }
    print("dreams", flush=True)
    arrivals = arrivals_of(load(train_options), train_options.tasks)
    prepare = partial(method.domain.prepare, device=CPU)
    tasks = [Task(one.name, one.classes, one.train, one.test, prepare) for one in arrivals]
    dreams = measure_dreams(method, {p: folder.parent for p, folder in files.items()}, tasks)
    print("timing", flush=True)
    before = os.getloadavg()[0]
    timed = {"classifier": classifiers.time(np.concatenate(pixels)), "generator": generators.time()}
    return {
        "command": "OMP_NUM_THREADS=1 python bench/edge.py RUN --data-root DIR",
        "run": {"dataset": train_options.dataset, "preset": train_options.preset, "seed": train_options.seed},
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_before_timing": round(before, 1),
            "load_after_timing": round(os.getloadavg()[0], 1),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
        "gate": report,
        "checked": checked,
        "dreams": dreams,
        "timed": timed,
    }


def export_all(run: Path, data_root: Path, work: Path) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """Folders of the versions of all precisions, and the lines of their gates."""
    folders, report = {}, {}
    for precision in PRECISIONS:
        lines: list[str] = []
        folders[precision] = publish_run(
            run,
            work / precision,
            precision=precision,
            data_root=None if precision == "fp32" else data_root,
            say=lines.append,
        )
        report[precision] = lines
    return folders, report


class Device:
    """Dreams as a device makes them from a published bundle, for the measures of `mygo_edge.measure.dreams`."""

    def __init__(self, bundle: Path, domain: LearntDomain) -> None:
        self.model, self.domain = EdgeModel.load(bundle), domain
        self.tasks = list(self.model.tasks)

    def dream(self, task: int, count: int, *, stream: int, step: int) -> tuple[Tensor, Tensor]:
        dreams = self.model.dream(self.tasks[task], n=count, seed=SEED, stream=stream, step=step)
        return torch.from_numpy(dreams.images).float() / 127.5 - 1, torch.from_numpy(dreams.class_ids)


def with_generators_alone(method: MyGO) -> MyGO:
    """The learner without the Gaussians that its sleeps dream of, too: devices have generators alone."""
    twin = copy.copy(method)
    twin.memory = GenerativeMemory(method.domain.shape, method.memory.backend)
    for generator in method.memory.generators:
        twin.memory.add(generator.for_devices())  # type: ignore[operator]
    return twin


def measure_dreams(method: MyGO, bundles: dict[str, Path], tasks: Sequence[Any]) -> dict[str, Any]:
    """Label fidelity and classification accuracy score of eager PyTorch and of every kind of generator."""
    phase = Phase(torch.device("cpu"), SEED)
    judge = train_judge(tasks, method.domain, phase)
    options = MeasureOptions()
    found = {}
    sources: dict[str, Any] = {"eager PyTorch": with_generators_alone(method)}
    for precision, folder in bundles.items():
        sources[PRECISIONS[precision].generator.name] = Device(folder, method.domain)
    for name, source in sources.items():
        fidelity = [label_fidelity(source, task, judge, options.dreams_per_class, phase) for task in range(len(tasks))]
        score = classification_accuracy_score(source, tasks, options, phase)
        found[name] = {
            "label_fidelity": sum(fidelity) / len(fidelity),
            "label_fidelity_by_task": fidelity,
            "classification_accuracy_score": score,
        }
        print(name, found[name], flush=True)
    return found


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return f"{name}, {'with' if any('vnni' in flag for flag in flags) else 'without'} 8-bit dot products (VNNI)"


if __name__ == "__main__":
    main()
