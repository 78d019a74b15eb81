"""Start or resume a run: device, data, folder, and then the loop."""

from dataclasses import replace
from pathlib import Path

import torch

from mygo_edge.data.datasets import load
from mygo_edge.data.tasks import make_tasks
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.methods import MyGO
from mygo_edge.options import TrainOptions
from mygo_edge.run.folder import RunFolder, free_folder, refuse_taken
from mygo_edge.run.phases import Interruption
from mygo_edge.run.progress import Display
from mygo_edge.run.publish import reuse_generators
from mygo_edge.run.runner import Runner


def start(options: TrainOptions) -> None:
    """Run to the end. Raises MygoEdgeError before anything is written when options or data cannot work."""
    folder, path = None, options.out or free_folder(Path("runs"), options.dataset)
    if options.resume is not None:
        path = options.resume
        folder, options = RunFolder.open(path)
    else:
        refuse_taken(path)
        options = _absolute(options)
    device = choose_device(options)
    dataset = load(options)
    batch = max(options.wake.batch_size, options.memory.batch_size)
    tasks = make_tasks(dataset, options.tasks, batch_size=batch, device=device)
    remembered = reuse_generators(options) if options.memory.reuse else []
    resumed = folder is not None
    folder = folder or RunFolder.create(path, options, device)
    with folder, Display() as display, Interruption() as interruption:
        display.say(f"{options.dataset}: {len(tasks)} tasks, {', '.join(options.methods)}, on {device} -> {path}")
        display.event(event="start", folder=path, device=device, tasks=len(tasks), methods=",".join(options.methods))
        runner = Runner(options, tasks, folder, dataset.fingerprint(), device, display, interruption)
        if isinstance(method := runner.methods.get("mygo"), MyGO):
            method.remembered = [generator.to(device) for generator in remembered]
        if resumed:
            runner.resume()
        try:
            runner.run()
        except KeyboardInterrupt:
            display.say(f"stopped; go on with: python -m mygo_edge.train --resume {path}")
            raise
        display.say(f"done: {path}/summary.json and {path}/plots" + (f", {path}/bundle" if method else ""))
        display.event(event="done", folder=path)


def _absolute(options: TrainOptions) -> TrainOptions:
    """Folders as absolute paths, so that a run can be resumed from anywhere."""
    root, reuse = options.data_root, options.memory.reuse
    memory = replace(options.memory, reuse=reuse.resolve() if reuse else None)
    return replace(options, data_root=root.resolve() if root else None, memory=memory)


def choose_device(options: TrainOptions) -> torch.device:
    """The device to learn on, with deterministic kernels. Raises MygoEdgeError when it is not there."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise MygoEdgeError("--device cuda: PyTorch sees no CUDA device here; check the driver, or use --device cpu")
    name = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"
    if name == "cpu" and options.precision != "fp32":
        raise MygoEdgeError("--precision bf16 is for CUDA; use fp32 on the CPU")
    if name == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # fp32 means fp32
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device(name)
