"""The way to a card's results, as far as it can be gone without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import gpu
from bench.fate import Fate, table

ROOT = Path(__file__).parents[2]


class StandIn:
    """Takes the place of every process that would need a card, and fails where it is told to."""

    def __init__(self, failing=()):
        self.failing, self.runs = failing, []

    def __call__(self, words, log):
        self.runs.append(words)
        log.write_text("")
        for word in words:
            if word.startswith("--benchmark-json="):
                Path(word.partition("=")[2]).write_text("{}")
        return int(any(part in " ".join(words) for part in self.failing))


def test_everything_is_run_in_order_and_reported(tmp_path):
    run = StandIn()
    assert gpu.everything(tmp_path, 10.0, tmp_path, "nothing", run) == 0
    assert [next(word for word in words[1:] if word[0] != "-") for words in run.runs] == [
        "pytest", "bench.fate", "pytest", "pytest", "bench.report",
    ]  # fmt: skip
    assert str(tmp_path / "run.json") in run.runs[-1]


def test_nothing_is_timed_while_the_kernels_are_wrong(tmp_path):
    run = StandIn(failing=["tests/kernels"])
    assert gpu.everything(tmp_path, 10.0, None, "nothing", run) == 2
    assert len(run.runs) == 1


def test_a_benchmark_that_fails_is_told_after_the_report(tmp_path):
    run = StandIn(failing=["bench/test_sleep.py"])
    assert gpu.everything(tmp_path, 10.0, None, "nothing", run) == 1
    assert run.runs[-1][1] == "bench.report"


def test_the_suites_that_it_names_are_there():
    assert all((ROOT / path).exists() for path in (*gpu.CORRECTNESS, *gpu.SUITES))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs the interpreter in place of a card")
def test_kernels_are_checked_and_timed_by_the_interpreter_in_place_of_a_card():
    pytest.importorskip("triton")
    code = """
import json, sys
import torch
from bench.cases import Case
from bench.fate import fates
cases = [Case("perceptron", (1, 8, 8), width=16, each=2, steps=1, tasks=2), Case("gaussian", (20,), each=2, steps=1)]
found = fates(cases, torch.device("cpu"), rounds=1)
print(json.dumps([[fate.fault, fate.triton, fate.torch, fate.predicted] for fate in found]))
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for fault, by_triton, by_torch, predicted in json.loads(run.stdout):
        assert fault == ""
        assert min(by_triton, by_torch) > 0
        assert predicted is None  # no card, no prediction


def test_the_table_decides_each_kernels_fate():
    from bench.cases import Case

    fast, slow = Case("perceptron", (1, 8, 8)), Case("gaussian", (20,))
    text = table([Fate(fast, 1e-3, 2e-3, 9e-4), Fate(slow, 3e-3, 2e-3, None), Fate(slow, 0, 0, None, "off")], "a card")
    assert "| 1.000 | 0.900 | 2.000 | 2.00 x as fast as PyTorch |" in text
    assert "- perceptron: stays" in text
    assert "- gaussian: goes: it is faster in no case" in text
    assert "wrong: off" in text


def test_predictions_follow_from_what_is_launched():
    from bench.cases import Case
    from bench.predicted import CARDS, distillation, predict

    few, many = (Case("gaussian", (1280,), each=each, tasks=2, steps=1) for each in (8, 4096))
    for card in CARDS:
        assert 0 < predict(few, card).seconds < predict(many, card).seconds
        assert 0 < predict(many, card).memory_share < 1
        written, fused = distillation(4096, 200, card)
        assert written < fused
