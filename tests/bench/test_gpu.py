"""The way to a card's results, as far as it can be gone without one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bench import gpu
from bench.contenders import CannotRunError, Way
from bench.fate import LEFT_OUT, Fate, table
from bench.report.results import read
from bench.turns import Deadline, OverTimeError, Timed, in_turns

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


class StandIn:
    """Takes the place of every process that would need a card: fails where it is told to, and moves a clock."""

    def __init__(self, failing=(), taking=None):
        self.failing, self.taking, self.runs, self.limits, self.now = failing, taking or {}, [], [], 0.0

    def __call__(self, words, log, limit):
        self.runs.append(words)
        self.limits.append(limit)
        taken = self.taking.get(log.stem, 1.0)
        self.now += taken if limit is None else min(taken, limit)
        if limit is not None and taken > limit:
            return gpu.OVER
        for word in words:
            if word.startswith("--benchmark-json="):
                Path(word.partition("=")[2]).write_text("{}")
        return int(any(part in " ".join(words) for part in self.failing))

    def clock(self):
        return self.now

    @property
    def names(self):
        return [next(word for word in words[1:] if word[0] != "-") for words in self.runs]


def everything(folder, run, seconds=gpu.SECONDS, data_root=None):
    return gpu.everything(folder, seconds, data_root, "nothing", run, run.clock)


def test_everything_is_run_in_order_and_reported(tmp_path):
    run = StandIn()
    assert everything(tmp_path, run, data_root=tmp_path) == 0
    assert run.names == ["pytest", "bench.fate", "pytest", "bench.report", "bench.fate", "pytest"]
    assert str(tmp_path / "benchmarks.json") in run.runs[4]
    assert run.limits[-1] is None  # a whole run takes its own time


def test_nothing_is_timed_while_the_kernels_are_wrong(tmp_path):
    run = StandIn(failing=["tests/kernels"])
    assert everything(tmp_path, run) == 2
    assert len(run.runs) == 1


def test_a_benchmark_that_fails_is_told_after_the_report(tmp_path):
    run = StandIn(failing=["bench/test_sleep.py"])
    assert everything(tmp_path, run) == 1
    assert run.names[-2:] == ["bench.report", "bench.fate"]


@pytest.mark.parametrize("slow", [{}, {"kernels": 1e6}, {"benchmarks": 1e6}, dict.fromkeys(gpu.LIMITS, 1e6)])
def test_it_ends_in_time_whatever_takes_long_and_says_what_was_stopped(slow, tmp_path):
    run = StandIn(taking=slow)
    everything(tmp_path, run)
    assert run.now <= gpu.SECONDS <= 480
    steps = (tmp_path / "steps.md").read_text()
    assert all(f"| {name} |" in steps and "stopped: its time was over" in steps for name in list(slow)[:1])
    if "correctness" not in slow:
        assert run.names[-1] == "bench.fate"  # what was measured by then decides


def test_what_has_no_time_left_is_left_out_and_named(tmp_path):
    run = StandIn(taking={"correctness": 100.0, "kernels": 60.0})
    assert everything(tmp_path, run, seconds=190.0) == 0
    assert "| benchmarks | 0 | 330 | left out: no time was left |" in (tmp_path / "steps.md").read_text()
    assert run.names == ["pytest", "bench.fate", "bench.fate"]


def test_a_process_is_stopped_with_everything_that_it_started_once_its_time_is_over(tmp_path):
    inner = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    assert gpu.run(["-c", code], tmp_path / "log.txt", 3.0) == gpu.OVER
    stat = Path("/proc", (tmp_path / "log.txt").read_text().strip(), "stat")
    for _ in range(100):  # a signal is sent before it has worked
        if not stat.exists() or stat.read_text().split()[2] == "Z":  # ended, if nobody has asked how
            break
        time.sleep(0.1)
    else:
        pytest.fail("what the process started goes on")
    assert gpu.run(["-c", "print('done'); raise SystemExit(3)"], tmp_path / "log.txt", 30.0) == 3
    assert (tmp_path / "log.txt").read_text() == "done\n"


def test_the_suites_that_it_names_are_there():
    for path in (*gpu.CORRECTNESS, *gpu.SUITES):
        file, _, name = path.partition("::")
        assert (ROOT / file).exists()
        assert name.partition("[")[0] in (ROOT / file).read_text() if name else True


def ways(**made):
    def way(run):
        return lambda: Way(run, lambda: None)

    return {name: way(run) for name, run in made.items()}


def test_a_way_that_is_not_ready_in_time_is_left_out_and_the_others_are_timed():
    def never():
        while True:
            time.sleep(0.01)

    found = in_turns(ways(quick=lambda: None, never=never), CPU, 0.01, deadline=Deadline(1.5))
    assert isinstance(found["quick"], Timed)
    assert isinstance(found["never"], OverTimeError)
    assert "1.5 seconds that were given were over" in str(found["never"])


def test_after_the_deadline_nothing_is_begun():
    begun = []
    found = in_turns(ways(late=lambda: begun.append(1)), CPU, 0.01, deadline=Deadline(0.0))
    assert isinstance(found["late"], CannotRunError)
    assert begun == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs the interpreter in place of a card")
def test_the_whole_way_is_gone_with_the_interpreter_in_place_of_a_card(tmp_path, monkeypatch):
    """Real processes and real measurements from the first step to the verdict, of fewer and smaller cases."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)  # benchmarks within a worker of xdist are not timed
    small = """
import sys
from pathlib import Path
import torch
from bench.cases import Case
from bench.fate import measure
cases = [Case("perceptron", (1, 8, 8), width=16, each=2, steps=1, tasks=2), Case("gaussian", (20,), each=2, steps=1)]
sys.exit(measure(cases, torch.device("cpu"), 60.0, Path(sys.argv[1]), rounds=1))
"""

    def run(words, log, limit):
        if log.stem == "correctness":
            words = ["-m", "pytest", "-q", "-n", "0", "tests/kernels/test_philox.py"]
        elif log.stem == "kernels":
            words = ["-c", small, words[-1]]
        elif log.stem == "benchmarks":
            fewer = ["bench/test_dreams.py", "--quick", "-k", "perceptron and -1- and not loop"]
            words = [word for word in words if word not in gpu.SUITES]
            words = [*words[:4], *fewer, *words[4:], "--each", "0.01"]
        return gpu.run(words, log, limit)

    assert gpu.everything(tmp_path, gpu.SECONDS, None, "nothing", run) == 0
    decided = (tmp_path / "fate.md").read_text()
    assert all(f"**{kind}**: " in decided for kind in ("perceptron", "gaussian"))
    assert not any(fault in decided for fault in (LEFT_OUT, "wrong"))
    assert "perceptron dreams, 5 tasks, 1 a call" in decided  # from the benchmarks
    assert {row.contender for row in read(tmp_path / "benchmarks.json").rows} >= {"ours, torch", "ours, triton"}
    assert (tmp_path / "report.md").exists()
    assert (tmp_path / "steps.md").read_text().count("| done |") == len(gpu.LIMITS)


def test_cases_that_time_leaves_out_are_named_as_such(tmp_path):
    code = """
import sys
from pathlib import Path
import torch
from bench.fate import measure
from bench.predicted import CASES
sys.exit(measure(CASES, torch.device("cpu"), 0.0, Path(sys.argv[1])))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "fate.json")], cwd=ROOT, check=True)
    words = [
        sys.executable,
        "-m",
        "bench.fate",
        "--from",
        str(tmp_path / "fate.json"),
        "--to",
        str(tmp_path / "fate.md"),
    ]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    decided = (tmp_path / "fate.md").read_text()
    assert decided.count(LEFT_OUT) == len(json.loads((tmp_path / "fate.json").read_text())["fates"]) > 5
    assert decided.count("undecided: nothing was measured") == 3


def test_the_table_decides_each_kernels_fate():
    fast, slow = Fate("a", "perceptron", 8, 1e-3, 2e-3, 8e-4), Fate("b", "gaussian", 8, 3e-3, 2e-3)
    text = table([fast, slow, Fate("c", "convolutional", 8, fault="wrong: off")], "a card")
    assert "| 1.000 | 0.800 | 1.25 | 2.000 | 2.00 x as fast as PyTorch |" in text
    assert "**perceptron**: stays\n" in text
    assert "**gaussian**: goes: it is faster than PyTorch's form in no case" in text
    assert "**convolutional**: goes unless it is mended" in text
    mixed = [fast, Fate("d", "perceptron", 8, 3e-3, 2e-3), Fate("e", "perceptron", 8, fault=LEFT_OUT)]
    assert "stays; PyTorch's form is faster for d" in table(mixed, "a card")


def test_a_kernel_that_loses_to_some_other_way_everywhere_goes(tmp_path):
    def row(contender, median, group="5 tasks"):
        facts = {
            "contender": contender,
            "suite": "dreams",
            "kind": "perceptron",
            "tasks": 5,
            "samples": 8,
            "megabytes": 0,
        }
        return {"group": group, "extra_info": facts, "stats": {"median": median, "q1": median, "q3": median}}

    path, fast = tmp_path / "benchmarks.json", Fate("a", "perceptron", 8, 1e-3, 2e-3)

    def decided(*rows):
        path.write_text(json.dumps({"benchmarks": rows, "machine_info": {}, "not_measured": [], "command": ""}))
        return table([fast], "a card", read(path))

    lost = row("ours, triton", 2e-3), row("compiled", 1e-3), row("loop", 3e-3)
    assert "**perceptron**: goes: some other way is faster in every group" in decided(*lost)
    won = row("ours, triton", 2e-3, "1 task"), row("loop", 3e-3, "1 task")
    text = decided(*lost, *won)
    assert "**perceptron**: stays" in text
    assert "| 5 tasks | 2.000 | 1.000 | 0.50 x compiled |" in text


def test_predictions_follow_from_what_is_launched():
    from bench.cases import Case
    from bench.predicted import CARDS, distillation, predict

    few, many = (Case("gaussian", (1280,), each=each, tasks=2, steps=1) for each in (8, 4096))
    for card in CARDS:
        assert 0 < predict(few, card).seconds < predict(many, card).seconds
        assert 0 < predict(many, card).memory_share < 1
        written, fused, _ = distillation(4096, 200, card)
        assert written < fused
