"""Is one graph of all generators faster than one graph a task? Two ways to pack them, against what is published.

Called by bench/edge.py and the benchmarks of dreams. Both ways take `z`, `task_id` and `class_id`.
- routed: `task_id` [batch]; each task's part of the batch goes through that task's weights, and back to its place.
- gathered: `task_id` a scalar, one task a run; its weights are picked from stacks of all tasks' weights.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mygo_edge.export.graphs import IR_VERSION, OPSET
from mygo_edge.model.gan import LATENT

ROUNDS = 60
_Feed = dict[str, np.ndarray]


def measure_packed(files: Sequence[Path], shape: tuple[int, int, int]) -> dict[str, Any]:
    """Bytes, load time and time of 1 dream, of 32 of one task, and of 32 of all tasks mixed, of each way."""
    separate = [path.read_bytes() for path in files]
    models = [onnx.load_from_string(data) for data in separate]
    sources = {"routed": [routed(models, shape)], "gathered": [gathered(models, shape)], "one graph a task": separate}
    sessions = {name: [open_graph(data) for data in graphs] for name, graphs in sources.items()}
    runs: dict[str, Callable[[_Feed], np.ndarray]] = {
        "one graph a task": lambda feed: _by_task(
            feed, lambda task, part: sessions["one graph a task"][task].run(None, part)[0], shape
        ),
        "routed": lambda feed: sessions["routed"][0].run(None, feed)[0],
        "gathered": lambda feed: _by_task(
            feed,
            lambda task, part: sessions["gathered"][0].run(None, {**part, "task_id": np.array(task)})[0],
            shape,
        ),
    }
    cases = {"1 dream": _feed(1, [1]), "32 dreams of a task": _feed(32, [1]), "32 mixed": _feed(32, range(len(files)))}
    for case, feed in cases.items():  # correctness first
        expected = runs["one graph a task"](feed)
        for name, run in runs.items():
            if not np.abs(run(feed) - expected).max() < 1e-4:
                raise SystemExit(f"{name} computes something else for {case}; nothing is timed")
    found: dict[str, Any] = {}
    for name, graphs in sources.items():
        times = []
        for _ in range(11):
            start = time.perf_counter()
            for data in graphs:
                open_graph(data)
            times.append(time.perf_counter() - start)
        found[name] = {"bytes": sum(map(len, graphs)), "load_ms": 1e3 * statistics.median(times)}
    for case, feed in cases.items():
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                run(feed)
                for _ in range(3):
                    start = time.perf_counter()
                    run(feed)
                    taken[name].append(time.perf_counter() - start)
        for name, seconds in taken.items():
            found[name][f"{case}, us"] = 1e6 * statistics.median(seconds)
    return found


def _feed(n: int, tasks: Sequence[int]) -> _Feed:
    rng = np.random.default_rng(n)
    return {
        "z": rng.standard_normal((n, LATENT), dtype=np.float32),
        "task_id": rng.choice(list(tasks), n),
        "class_id": rng.integers(0, 2, n),
    }


def _by_task(feed: _Feed, run: Callable[[int, _Feed], np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    """One run for each task of the batch, as a device would do it."""
    images = np.empty((len(feed["z"]), *shape), np.float32)
    for task in np.unique(feed["task_id"]):
        rows = feed["task_id"] == task
        images[rows] = run(int(task), {"z": feed["z"][rows], "class_id": feed["class_id"][rows]})
    return images


def open_graph(data: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def routed(models: Sequence[onnx.ModelProto], shape: tuple[int, int, int]) -> bytes:
    """All tasks' nodes side by side, each fed its own rows of the batch."""
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = [numpy_helper.from_array(np.array([0]), "zero")]
    for task, model in enumerate(models):
        prefix = f"t{task}."
        tensors.append(numpy_helper.from_array(np.array(task), f"{prefix}id"))
        for tensor in model.graph.initializer:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = prefix + tensor.name
            tensors.append(copy)
        nodes += [
            helper.make_node("Equal", ["task_id", f"{prefix}id"], [f"{prefix}own"]),
            helper.make_node("NonZero", [f"{prefix}own"], [f"{prefix}found"]),
            helper.make_node("Flatten", [f"{prefix}found"], [f"{prefix}flat"], axis=0),
            helper.make_node("Squeeze", [f"{prefix}flat", "zero"], [f"{prefix}rows"]),
            *(helper.make_node("Gather", [name, f"{prefix}rows"], [prefix + name]) for name in ("z", "class_id")),
        ]
        for node in model.graph.node:
            copy_node = NodeProto()
            copy_node.CopyFrom(node)
            copy_node.name = prefix + node.name
            for names in (copy_node.input, copy_node.output):
                names[:] = [prefix + name for name in names]
            nodes.append(copy_node)
    count = range(len(models))
    nodes += [
        helper.make_node("Concat", [f"t{task}.rows" for task in count], ["order"], axis=0),
        helper.make_node("Concat", [f"t{task}.image" for task in count], ["sorted"], axis=0),
        helper.make_node("Shape", ["order"], ["n"]),
        helper.make_node("TopK", ["order", "n"], ["_", "back"], largest=0, sorted=1),
        helper.make_node("Gather", ["sorted", "back"], ["image"]),
    ]
    return _model(nodes, tensors, ["batch"], shape)


def gathered(models: Sequence[onnx.ModelProto], shape: tuple[int, int, int]) -> bytes:
    """One task's nodes, whose weights are picked from stacks."""
    values = [{tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} for model in models]
    nodes, tensors = [], []
    for name in values[0]:
        if name == "base_size":
            tensors.append(numpy_helper.from_array(values[0][name], name))
            continue
        tensors.append(numpy_helper.from_array(np.stack([value[name] for value in values]), f"{name}.all"))
        nodes.append(helper.make_node("Gather", [f"{name}.all", "task_id"], [name]))
    return _model([*nodes, *models[0].graph.node], tensors, [], shape)


def _model(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto], task_shape: list, shape: Sequence[int]) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "generators",
        [
            value("z", TensorProto.FLOAT, ["batch", LATENT]),
            value("task_id", TensorProto.INT64, task_shape),
            value("class_id", TensorProto.INT64, ["batch"]),
        ],
        [value("image", TensorProto.FLOAT, ["batch", *shape])],
        list(tensors),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    onnx.checker.check_model(model)
    return model.SerializeToString()
