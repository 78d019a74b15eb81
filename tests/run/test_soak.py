"""Kills at random moments in everything that box and device do: none leaves a state that does not load.

MYGO_EDGE_SOAK=1 python -m pytest -n 0 -s tests/run/test_soak.py; MYGO_EDGE_KILLS says how many (500, in half an hour).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.commands import environment

KILLS = int(os.environ.get("MYGO_EDGE_KILLS", "500"))
ACTIONS = {"train", "resume", "extend", "forget", "export", "update"}


@pytest.mark.skipif("MYGO_EDGE_SOAK" not in os.environ, reason="takes half an hour: set MYGO_EDGE_SOAK")
def test_no_kill_leaves_a_state_that_does_not_load(tmp_path: Path) -> None:
    """Each action is killed from a fresh state, and going on from what that left is killed too. See kills.py."""
    command = [sys.executable, Path(__file__).with_name("kills.py"), tmp_path, KILLS]
    done = subprocess.run(list(map(str, command)), env=environment(), stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    counts = json.loads(done.stdout)
    print(counts)
    assert counts.keys() == ACTIONS
    assert sum(moments + operations for moments, operations, _ in counts.values()) >= KILLS
