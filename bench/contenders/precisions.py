"""Every precision of a bundle's graphs beside a plain export, its dynamic quantisation and eager PyTorch."""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from bench.contenders import Way
from bench.contenders.inference import PixelClassifier, export_plainly
from bench.turns import in_turns
from mygo_edge.bundle.selftest import deviation
from mygo_edge.device.pruning import pruned
from mygo_edge.device.session import INTEGER_WEIGHTS
from mygo_edge.export.recipes import PRECISIONS
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.model.gan import LATENT

BATCHES = (1, 32)
SECONDS = 4.0  # of timing each candidate and batch
LOADS = 15
CPU = torch.device("cpu")


Runner = Callable[[dict[str, np.ndarray]], Any]


class Candidates:
    """Ways to compute the same: files that onnxruntime runs, and eager PyTorch."""

    fp32 = ("plain torch.onnx.export", "fp32")

    def __init__(self) -> None:
        self.bytes: dict[str, bytes] = {}
        self.eager: dict[str, Runner] = {}
        self.outputs: list[str] | None = None

    def plain(self, module: nn.Module, example: tuple[Tensor, ...], inputs: Sequence[str], work: Path) -> None:
        """`torch.onnx.export` with nothing but a dynamic batch, and onnxruntime's dynamic quantisation of it."""
        path = work / "plain.onnx"
        module.eval()
        export_plainly(module, example, inputs, path)
        self.bytes["plain torch.onnx.export"] = path.read_bytes()
        # Without its pre-processing, the quantiser trips over the shapes that the exporter notes down.
        quant_pre_process(path, work / "prepared.onnx")
        quantize_dynamic(work / "prepared.onnx", work / "dynamic.onnx")
        self.bytes["its dynamic quantisation"] = (work / "dynamic.onnx").read_bytes()

    def open(self, name: str) -> Runner:
        """As `mygo_edge.device` opens a graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if name in INTEGER_WEIGHTS:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        wanted = self.outputs if name in PRECISIONS else None
        data = self.bytes[name] if wanted is None else pruned(self.bytes[name], wanted)
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return lambda feed: session.run(wanted, feed)

    def time_all(self, feeds: dict[int, dict[str, np.ndarray]]) -> dict[str, Any]:
        """Bytes, load time and latency of every candidate, measured in turns."""
        runners = {**self.eager, **{name: self.open(name) for name in self.bytes}}
        found: dict[str, Any] = {name: {"bytes": len(self.bytes.get(name, b"")) or None} for name in runners}
        loads: dict[str, list[float]] = {name: [] for name in self.bytes}
        for _ in range(LOADS):
            for name, times in loads.items():
                start = time.perf_counter()
                self.open(name)
                times.append(time.perf_counter() - start)
        for name, times in loads.items():
            found[name]["load_ms"] = 1e3 * statistics.median(times)
        for batch, feed in feeds.items():
            for name, timed in in_turns(ways(runners, feed), CPU, SECONDS, torch.inference_mode).items():
                if isinstance(timed, Exception):
                    raise timed
                low, middle, high = np.quantile(timed.seconds, (0.2, 0.5, 0.8)) * 1e6
                found[name][f"batch_{batch}_us"] = {"median": middle, "quantile_20": low, "quantile_80": high}
        return found


def ways(runners: dict[str, Runner], feed: dict[str, np.ndarray]) -> dict[str, Callable[[], Way]]:
    """What `in_turns` times; all of it was checked before."""

    def way_of(runner: Runner) -> Callable[[], Way]:
        return lambda: Way(lambda: runner(feed), lambda: None)

    return {name: way_of(runner) for name, runner in runners.items()}


class Classifiers(Candidates):
    def __init__(self, method: MyGO, files: dict[str, Path], work: Path, tasks: Sequence[str]) -> None:
        super().__init__()
        self.net, self.widths = method.net, method.net.widths
        module = PixelClassifier(self.net)
        contiguous = copy.deepcopy(module).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.eager["eager PyTorch"] = lambda feed: contiguous(torch.from_numpy(feed["image"])).numpy()
        self.eager["eager PyTorch, channels last"] = lambda feed: module(torch.from_numpy(feed["image"])).numpy()
        self.plain(module, (torch.zeros(2, *method.domain.shape, dtype=torch.uint8),), ["image"], work)
        for precision, folder in files.items():
            name = "classifier.onnx" if precision == "fp32" else f"classifier.{precision}.onnx"
            self.bytes[precision] = (folder / name).read_bytes()
        self.outputs = [f"logits_{task}" for task in tasks]

    def check(self, pixels: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> dict[str, Any]:
        """Accuracy on the test split, and the largest difference from PyTorch. Raises when a candidate is wrong."""
        runners = {**self.eager, **{name: self.open(name) for name in self.bytes}}
        found: dict[str, Any] = {}
        with torch.inference_mode():
            logits = {
                name: [
                    np.concatenate([_joined(runner({"image": part})) for part in np.array_split(images, 8)])
                    for images in pixels
                ]
                for name, runner in runners.items()
            }
        for name, parts in logits.items():
            known, unknown, start = 0, 0, 0
            for part, label, width in zip(parts, labels, self.widths, strict=True):
                known += int((part[:, start : start + width].argmax(1) == label).sum())
                unknown += int((part.argmax(1) == label + start).sum())
                start += width
            total = sum(map(len, labels))
            worst = max(deviation(a, b) for a, b in zip(parts, logits["eager PyTorch"], strict=True))
            if name in self.fp32 and worst > 1e-4:
                raise SystemExit(f"{name} differs by {worst} from PyTorch; nothing is timed")
            found[name] = {"task_known": known / total, "task_unknown": unknown / total, "deviation": worst}
        best = found["eager PyTorch"]["task_unknown"]
        for name, row in found.items():
            if row["task_unknown"] < best - 0.01:
                raise SystemExit(
                    f"{name} is right in {row['task_unknown']:.2%}, PyTorch in {best:.2%}; nothing is timed"
                )
        return found

    def time(self, pixels: np.ndarray) -> dict[str, Any]:
        return self.time_all({batch: {"image": pixels[:batch]} for batch in BATCHES})


class Generators(Candidates):
    """Of the first task; the others' are alike in all but their weights."""

    def __init__(self, method: MyGO, files: dict[str, Path], work: Path) -> None:
        super().__init__()
        generator: Any = method.memory.generators[0]
        self.eager["eager PyTorch"] = lambda feed: generator(*map(torch.from_numpy, feed.values())).numpy()
        example = (torch.zeros(2, LATENT), torch.zeros(2, dtype=torch.int64))
        self.plain(generator, example, ["z", "class_id"], work)
        for precision, folder in files.items():
            name = PRECISIONS[precision].generator.name
            (path,) = folder.glob("generator-task0*.onnx")
            self.bytes[name] = path.read_bytes()

    def feed(self, batch: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(batch)
        return {"z": rng.standard_normal((batch, LATENT), dtype=np.float32), "class_id": np.arange(batch) % 2}

    def check(self) -> dict[str, Any]:
        """Mean and largest difference of pixels, in levels of 256. Raises when a candidate is wrong."""
        feed = self.feed(256)
        with torch.inference_mode():
            expected = self.eager["eager PyTorch"](feed)
        found = {}
        for name in self.bytes:
            difference = np.abs(self.open(name)(feed)[0] - expected) * 127.5
            if not difference.mean() < (0.01 if name in self.fp32 else 5):
                raise SystemExit(f"{name} dreams {difference.mean()} levels from PyTorch; nothing is timed")
            found[name] = {"mean_levels": float(difference.mean()), "max_levels": float(difference.max())}
        return found

    def time(self) -> dict[str, Any]:
        return self.time_all({batch: self.feed(batch) for batch in BATCHES})


def _joined(outputs: Any) -> np.ndarray:
    return outputs if isinstance(outputs, np.ndarray) else np.concatenate(outputs, 1)
