"""Small runs of the real command, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TINY = [
    *("--tasks", "0,1/2,3", "--checkpoint-seconds", "0.3"),
    *("--wake.epochs", "1", "--wake.min-steps", "40", "--wake.batch-size", "64"),
    *("--memory.epochs", "1", "--memory.min-steps", "200", "--memory.batch-size", "32"),
    *("--sleep.steps", "60", "--sleep.dreams-per-task", "16"),
    *("--measure.dreams-per-class", "20", "--measure.score-steps", "20"),
]


def command(*arguments: object, module: str = "train") -> list[str]:
    return [sys.executable, "-m", f"mygo_edge.{module}", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}  # the same order of additions in every process, and no contention


def run(*arguments: object, module: str = "train", **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, module=module), capture_output=True, text=True, env=environment(), timeout=300, **options
    )


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    )


def summary(folder: Path) -> dict[str, Any]:
    """summary.json without times and peaks of memory, and the learner's id."""
    document = json.loads((folder / "summary.json").read_text())
    del document["learner"]  # random
    for results in document["methods"].values():
        del results["seconds"], results["peak_bytes"]
    return document
