"""The benchmarks themselves: a way that is wrong has no time."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.report.results import read
from bench.report.tables import report

ROOT = Path(__file__).parents[2]
BROKEN = """
from bench.contenders.dreams import DreamCase

right = DreamCase._vmap
DreamCase._vmap = lambda case: lambda z, ids: 1.01 * right(case)(z, ids)
"""


def test_a_way_that_dreams_something_else_fails_and_has_no_time(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    out = tmp_path / "results.json"
    command = [*("bench/test_dreams.py", "--quick", "-k", "perceptron and 128"), f"--benchmark-json={out}"]
    # In a worker of pytest-xdist, benchmarks would not be timed.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "broken", *command],
        cwd=ROOT,
        env={**alone, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    results = read(out)
    assert {row.contender for row in results.rows} >= {"loop", "ours, torch", "onnxruntime, a graph a task"}
    assert "vmap" not in {row.contender for row in results.rows}
    (wrong,) = (one for one in results.not_measured if one["outcome"] == "failed")
    assert wrong["contender"] == "vmap"
    assert "off by 1.0e-02" in wrong["reason"]
    assert "- **wrong** vmap" in report(results)
    assert "data" not in json.loads(out.read_text())["benchmarks"][0]["stats"], "single times are left out"
