"""A run's folder: its configuration, its log, its summary, and the lock that keeps a second process out."""

import fcntl
import json
import os
import platform
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import torch

import mygo_edge
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.files import write_json
from mygo_edge.options import TrainOptions
from mygo_edge.options_check import check
from mygo_edge.options_json import as_json, from_json
from mygo_edge.run.device import multiplies_bf16

Event = Mapping[str, Any]  # a line of metrics.jsonl

PACKAGES = ("torch", "torchvision", "triton", "numpy", "onnx", "onnxscript", "onnxruntime", "safetensors")


class RunFolder:
    """`runs/NAME`. `create` refuses a folder with something in it; `open` takes an earlier run's.

    Of several processes one holds the lock and writes; the others pass `writes` as False.
    """

    def __init__(
        self, path: Path, config: dict[str, Any], writes: bool = True, on_event: Callable[[Event], None] | None = None
    ) -> None:
        self.path, self._config, self._on_event = path, config, on_event
        self.run_id = str(config["run"])
        self._lock = self._take_lock() if writes else None
        self._log: TextIO | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        options: TrainOptions,
        device: torch.device,
        streams: Sequence[tuple[TrainOptions, Sequence[str]]] = (),
        on_event: Callable[[Event], None] | None = None,
    ) -> "RunFolder":
        """A new run in the folder `path`; streams as for `add_stream`.

        Raises MygoEdgeError when the folder holds anything yet.
        """
        refuse_taken(path)
        path.mkdir(parents=True, exist_ok=True)
        document = {"run": uuid.uuid4().hex, "options": as_json(options), "streams": [], "changed": {}}
        folder = cls(path, document | _surroundings(device), on_event=on_event)
        refuse_taken(path)  # by another process in the meantime
        for stream, names in streams:
            folder._config["streams"].append({"options": as_json(stream), "tasks": list(names)})
        folder._write_config()
        return folder

    @classmethod
    def open(
        cls, path: Path, *, writes: bool = True, on_event: Callable[[Event], None] | None = None
    ) -> tuple["RunFolder", TrainOptions]:
        """An earlier run and its options, on the device that it began on.

        Raises:
            MygoEdgeError: `path` holds no run, or a damaged one.
        """
        document = read_config(path)
        if writes and document["device"]["threads"] != torch.get_num_threads():
            began = document["device"]["threads"]
            warn(f"{path} began with {began} threads; set OMP_NUM_THREADS to it for equal results")
        options, here = _options(document, document["options"]), multiplies_bf16()
        began_on = document["device"]
        on_cpu = began_on["type"] == "cpu"  # elsewhere all is learnt in fp32, whatever the processor
        if writes and on_cpu and options.precision == "auto" and began_on.get("bf16", here) != here:
            began = "without" if here else "with"
            warn(f"{path} began {began} AMX: GANs and sleeps are in other arithmetic on this processor")
        if options.precision == "bf16" and on_cpu and not here:
            if writes:
                warn(f"{path} began in bf16, for which this processor has no instructions (AMX): it goes on in fp32")
            options = replace(options, precision="fp32")
        return cls(path, document, writes, on_event), options

    def streams(self) -> list[tuple[TrainOptions, list[str | None]]]:
        """Where tasks came from, in order: options that name the data, and the tasks' names, None if forgotten."""
        return [(_options(self._config, stream["options"]), stream["tasks"]) for stream in self._config["streams"]]

    def add_stream(self, options: TrainOptions, names: Sequence[str]) -> None:
        """Remember where further tasks come from, durably."""
        self._config["streams"].append({"options": as_json(options), "tasks": list(names)})
        self._write_config()

    def drop_stream(self, names: Sequence[str]) -> None:
        """Let the newest tasks go again, of which nothing was learnt, durably."""
        streams = self._config["streams"]
        if names and streams and streams[-1]["tasks"][-len(names) :] == list(names):
            del streams[-1]["tasks"][-len(names) :]
            if not streams[-1]["tasks"]:
                del streams[-1]
            self._write_config()

    def options_of(self, task: str) -> TrainOptions:
        """The options that a task is learnt with."""
        changed = self._config["changed"].get(task)
        if changed is not None:
            return _options(self._config, changed)
        return next(options for options, names in self.streams() if task in names)

    def change_options(self, tasks: Sequence[str], options: TrainOptions) -> None:
        """Let `tasks`, which are not learnt yet, be learnt with these options, durably."""
        self._config["changed"] |= {task: as_json(options) for task in tasks}
        self._write_config()

    def drop_task(self, name: str) -> None:
        """Let a forgotten task's name go, durably. Its place stays, so that no new task gets its default name."""
        for stream in self._config["streams"]:
            stream["tasks"] = [None if task == name else task for task in stream["tasks"]]
        self._config["changed"].pop(name, None)
        self._write_config()

    def _write_config(self) -> None:
        if self._lock is not None:
            write_json(self.path / "config.json", self._config)

    def _take_lock(self) -> TextIO:
        lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MygoEdgeError(f"{self.path} is in use by another process; wait for it or stop it") from None
        return lock

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def log(self, **event: Any) -> None:
        """Append a line to metrics.jsonl, and tell whoever listens."""
        if self._lock is None:
            return
        if self._on_event is not None:
            self._on_event(event)
        if self._log is None:
            self._log = (self.path / "metrics.jsonl").open("a")
        self._log.write(json.dumps(event) + "\n")
        self._log.flush()

    def log_size(self) -> int:
        """Bytes of metrics.jsonl so far."""
        if self._log is not None:
            os.fsync(self._log.fileno())  # a checkpoint must not know more than the disk
        file = self.path / "metrics.jsonl"
        return file.stat().st_size if file.exists() else 0

    def cut_log(self, size: int) -> None:
        """Drop the lines that were written after a checkpoint; a resumed run writes them again."""
        file = self.path / "metrics.jsonl"
        if self._lock is not None and file.exists():
            with file.open("r+b") as handle:
                handle.truncate(min(size, file.stat().st_size))


def read_config(path: Path) -> dict[str, Any]:
    """config.json of the run in the folder `path`. Raises MygoEdgeError when there is none, or it is damaged."""
    file = path / "config.json"
    try:
        document = json.loads(file.read_bytes())
        document["run"], document["options"]["device"], document["device"]["type"], document["device"]["threads"]
        if not isinstance(document["changed"], dict):
            raise TypeError("changed must be an object")
        for stream in document["streams"]:
            if not all(name is None or isinstance(name, str) for name in stream["tasks"]):
                raise TypeError("a task's name must be text")
            stream["options"]["device"]
    except FileNotFoundError:
        raise MygoEdgeError(f"{path} holds no run (no config.json); give the folder of a run") from None
    except (ValueError, KeyError, TypeError) as error:
        raise MygoEdgeError(f"{file} is damaged ({error!r}); start the run again in another --out") from error
    return document


def latest_options(path: Path) -> TrainOptions:
    """The options of the run in the folder `path`, as its newest tasks are learnt with. Raises MygoEdgeError."""
    document = read_config(path)
    newest = document["streams"][-1] if document["streams"] else document
    changed = [document["changed"][task] for task in newest.get("tasks", []) if task in document["changed"]]
    return _options(document, changed[-1] if changed else newest["options"])


def _options(document: dict[str, Any], values: dict[str, Any]) -> TrainOptions:
    """Options on the device that the run began on. Raises MygoEdgeError."""
    options = from_json({**values, "device": document["device"]["type"]})
    check(options)
    return options


def refuse_taken(path: Path) -> None:
    """Raise MygoEdgeError unless `path` can become a run's folder: absent, empty, or left by a run that never began."""
    if not path.exists():
        return
    if not path.is_dir() or {file.name for file in path.iterdir()} - {".lock", ".config.json.tmp"}:
        what = "already holds a run" if (path / "config.json").exists() else "is not an empty folder"
        raise MygoEdgeError(f"{path} {what}; go on with a run by --resume {path}, or give another --out")


def free_folder(root: Path, name: str) -> Path:
    """The first of root/name, root/name-2, root/name-3, ... that does not exist."""
    candidate, number = root / name, 2
    while candidate.exists():
        candidate, number = root / f"{name}-{number}", number + 1
    return candidate


def _surroundings(device: torch.device) -> dict[str, Any]:
    """Versions, git commit and machine: what a number must be read with."""
    versions = {"mygo_edge": mygo_edge.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "versions": versions,
        "git_commit": _git_commit(),
        "device": {
            "type": device.type,
            "name": name,
            "threads": torch.get_num_threads(),
            "bf16": device.type == "cpu" and multiplies_bf16(),
        },
    }


def _git_commit() -> str | None:
    """The commit of the source checkout this runs from, marked when files differ from it, or None."""
    root = Path(mygo_edge.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answers = [
            subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return answers[0] + ("-dirty" if answers[1] else "")
