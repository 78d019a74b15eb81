"""Kills at random moments in everything that the box does: none leaves a state that does not load. Takes hours.

MYGO_EDGE_SOAK=1 python -m pytest tests/run/test_soak.py; MYGO_EDGE_KILLS says how many (500).
"""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.run.saved import open_learner
from tests.run.commands import TINY, command, environment

KILLS = int(os.environ.get("MYGO_EDGE_KILLS", "500"))
# What a run that was killed early may say instead of being loaded.
EARLY = ("holds no run", "has not finished its first phase")


def arguments(action: str, folder: Path) -> list[str]:
    """The command of an action on a run's folder."""
    return {
        "train": command(*TINY, "--out", folder),
        "resume": command("--resume", folder),
        "extend": command("--extend", folder, "--tasks", "4,5"),
        "forget": command("--forget", "task0", folder),
        "export": command(folder, "--precision", "fp16", "--to", folder / "fp16", module="export"),
    }[action]


def loads(folder: Path) -> None:
    """Whatever there is of a run and of its bundles is whole."""
    try:
        open_learner(folder)
    except MygoEdgeError as error:
        if not any(words in str(error) for words in EARLY):
            raise
    for bundle in (folder / "bundle", folder / "fp16"):
        if (bundle / "current").exists():
            EdgeModel.load(bundle)


def killed(action: str, folder: Path, seconds: float) -> bool:
    """Whether an action had to be killed after so many seconds; else it ended well, or with one line."""
    process = subprocess.Popen(
        arguments(action, folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode in (0, 2), said
    assert "Traceback" not in said, said
    return False


@pytest.mark.skipif("MYGO_EDGE_SOAK" not in os.environ, reason="takes hours: set MYGO_EDGE_SOAK")
def test_no_kill_leaves_a_state_that_does_not_load(whole_run, tmp_path: Path) -> None:
    """Each action is killed from a fresh state, and going on from what that left is killed too."""
    rng, folder = random.Random(0), tmp_path / "run"
    longest = dict.fromkeys(("train", "extend", "forget", "export", "resume"), 40.0)
    kills = dict.fromkeys(longest, 0)
    while sum(kills.values()) < KILLS:
        for first in ("train", "extend", "forget", "export"):
            shutil.rmtree(folder, ignore_errors=True)
            if first != "train":
                shutil.copytree(whole_run[0], folder)
            for action in (first, *(["resume"] if first != "export" else [])):
                started = time.monotonic()
                if killed(action, folder, rng.uniform(0.5, longest[action])):
                    kills[action] += 1
                else:
                    longest[action] = min(longest[action], 1.2 * (time.monotonic() - started))
                loads(folder)
    print(kills)
