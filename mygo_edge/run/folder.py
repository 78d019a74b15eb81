"""A run's folder: its configuration, its log, its summary, and the lock that keeps a second process out."""

import errno
import fcntl
import json
import os
import platform
import subprocess
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import torch

import mygo_edge
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.files import write_json
from mygo_edge.options import TrainOptions, as_json, check, from_json

PACKAGES = ("torch", "torchvision", "triton", "numpy", "onnx", "onnxscript", "onnxruntime", "safetensors")


class RunFolder:
    """`runs/NAME`. `create` refuses a folder with something in it; `open` takes an earlier run's.

    Of several processes one holds the lock and writes; the others pass `writes` as False.
    """

    def __init__(self, path: Path, run_id: str, writes: bool = True, *, reads_only: bool = False) -> None:
        self.path, self.run_id = path, run_id
        self._lock = self._take_lock(reads_only) if writes else None
        self._log: TextIO | None = None

    @classmethod
    def create(cls, path: Path, options: TrainOptions, device: torch.device) -> "RunFolder":
        """A new run in the folder `path`. Raises MygoEdgeError when it holds anything yet."""
        refuse_taken(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, uuid.uuid4().hex)
        refuse_taken(path)  # by another process in the meantime
        document = {"run": folder.run_id, "options": as_json(options), **_surroundings(device)}
        write_json(path / "config.json", document)
        return folder

    @classmethod
    def open(cls, path: Path, *, reads_only: bool = False) -> tuple["RunFolder", TrainOptions]:
        """An earlier run and its options, on the device that it began on.

        reads_only: the caller writes nothing, so a folder that refuses to be written to will do, without a lock.

        Raises:
            MygoEdgeError: `path` holds no run, or a damaged one.
        """
        file = path / "config.json"
        try:
            document = json.loads(file.read_bytes())
            run_id, values, device = document["run"], document["options"], document["device"]
            values["device"] = device["type"]
            if device["threads"] != torch.get_num_threads():
                warn(f"{path} began with {device['threads']} threads; set OMP_NUM_THREADS to it for equal results")
        except FileNotFoundError:
            raise MygoEdgeError(f"{path} holds no run (no config.json); --resume takes the folder of a run") from None
        except (ValueError, KeyError, TypeError) as error:
            raise MygoEdgeError(f"{file} is damaged ({error!r}); start the run again in another --out") from error
        options = from_json(values)
        check(options)
        return cls(path, str(run_id), reads_only=reads_only), options

    def _take_lock(self, reads_only: bool) -> TextIO | None:
        try:
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            if reads_only and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None
            raise
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
        """Append a line to metrics.jsonl."""
        if self._lock is None:
            return
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
        "device": {"type": device.type, "name": name, "threads": torch.get_num_threads()},
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
