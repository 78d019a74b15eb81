"""Every kernel compiles for every target, as the learner launches it: see bench/compiled.py. No GPU is needed.

In a process of its own, because the interpreter that the other tests run kernels in cannot be turned off again.
MYGO_EDGE_COMPILE_ALL=1 compiles every configuration instead of the default ones, which takes some minutes.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVERY = ["--every"] if os.environ.get("MYGO_EDGE_COMPILE_ALL") == "1" else []


def compiled(folder, *options):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    words = [sys.executable, "-m", "bench.compiled", "--to", str(folder / "found.json"), *options]
    run = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    return run, json.loads((folder / "found.json").read_text())["kernels"] if run.returncode in (0, 1) else []


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    pytest.importorskip("triton")
    run, kernels = compiled(tmp_path_factory.mktemp("compiled"), *EVERY)
    assert run.returncode == 0, run.stderr
    return kernels


def test_every_default_kernel_compiles_within_a_cards_limits_for_every_target(found):
    targets = {row["target"] for row in found}
    assert targets == {80, 86, 89, 90, 100, 120}
    for target in targets:
        of_target = [row for row in found if row["target"] == target]
        assert {row["kernel"] for row in of_target} == {"base", "upsample", "image", "perceptron", "gaussian"}
        assert all(row["blocks_at_once"] >= 1 and not row["faults"] for row in of_target)
        assert not any(row["spilt"] for row in of_target if row["default"])


def test_products_use_matrix_units_wherever_there_are_any(found):
    assert all(row["products"] != "-" for row in found if row["kernel"] != "image")


def test_a_kernel_that_spills_or_needs_too_much_memory_is_a_fault(tmp_path):
    pytest.importorskip("triton")
    code = """
import sys
from mygo_edge.kernels import dream_triton, tiling
dream_triton.perceptron_tile = lambda target, single, hidden: tiling.Tile(128, 128, 128, 4, 1)
from bench import compiled
compiled.cases = lambda: [case for case in __import__("bench.cases").cases.cases() if case.kind == "perceptron"]
sys.argv[1:] = ["--targets", "89"]
sys.exit(compiled.main())
"""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert re.search(r"spills \d+ bytes of registers|bytes of shared memory, of 101376", run.stderr)


def test_noise_that_is_not_exact_is_found():
    from bench.compiled import inexact

    exact = "sqrt.rn.f32 %f1, %f2;\ndiv.rn.f32 %f3, %f4, %f5;\nmul.f32 %f6, %f7, %f8;\n"
    assert inexact(exact, set()) == ""
    assert "fma.rn.f32" in inexact(exact + "fma.rn.f32 %f9, %f1, %f2, %f3;", set())
    assert "lg2.approx" in inexact(exact + "lg2.approx.f32 %f9, %f1;", {"ex2.approx"})
    assert "2 exact roots" in inexact(exact + "sqrt.rn.f32 %f9, %f1;", set())
