"""Several processes, started by torchrun, learn what one would."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.pixels.lessons import plan_dreams
from mygo_edge.learn.team import Team
from mygo_edge.options import SleepOptions, TrainOptions
from mygo_edge.run.checkpoint import Checkpoint
from mygo_edge.run.device import check_team
from tests.run.commands import TINY, environment, run, summary

PAIR = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mygo_edge.train"]


def pair(*arguments):
    return subprocess.run([*PAIR, *map(str, arguments)], capture_output=True, text=True, env=environment(), timeout=300)


def weights(folder):
    """All that MyGO knows at the end of the run in `folder`."""
    checkpoint = Checkpoint(folder / "checkpoint")
    checkpoint.open(json.loads((folder / "config.json").read_text())["run"])
    return checkpoint.get("mygo")


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shared"
    done = pair(*TINY, "--methods", "mygo", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_two_processes_learn_what_one_does(shared_run, whole_run):
    folder, _ = shared_run
    ours, alone = summary(folder)["methods"]["mygo"], summary(whole_run[0])["methods"]["mygo"]
    for measure in ("task_known", "task_unknown"):
        for row, expected in zip(ours[measure]["matrix"], alone[measure]["matrix"], strict=True):
            assert row == pytest.approx(expected, abs=0.02)  # one or two of 72 test images
    ours_sleep, alone_sleep = ours["sleep"][-1], alone["sleep"][-1]
    assert ours_sleep["dreams"] == alone_sleep["dreams"]
    assert ours_sleep["loss_last"] == pytest.approx(alone_sleep["loss_last"], rel=0.02)
    ours_weights, alone_weights = weights(folder), weights(whole_run[0])
    for name, expected in alone_weights.items():
        if name.startswith("generator"):  # trained by both processes alike, so the dreams are the same to the bit
            assert torch.equal(ours_weights[name], expected)
        else:
            difference = (ours_weights[name] - expected).norm() / expected.norm().clamp_min(1e-6)
            assert difference < 0.04, name  # sums of two halves, rounded to bf16 where sleeps are in it


def test_the_leader_alone_writes_and_speaks(shared_run):
    folder, done = shared_run
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    phases = [json.loads(line) for line in lines if '"event": "phase"' in line]
    assert len(phases) == len({(phase["task"], phase["phase"]) for phase in phases}) == 10
    assert done.stdout.count("event=start") == 1
    assert "processes=2" in done.stdout


def test_a_killed_process_ends_the_job_and_one_process_goes_on_from_its_checkpoint(tmp_path):
    folder = tmp_path / "killed"
    command = [*PAIR, *TINY, "--methods", "mygo", "--measure.no-dreams", "--sleep.steps", "400"]
    command += ["--checkpoint-seconds", "0.05"]
    job = subprocess.Popen(
        [*command, "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    state = folder / "checkpoint" / "state.json"
    while True:
        assert job.poll() is None, job.stderr.read()
        assert time.monotonic() < deadline
        if state.exists():
            document = json.loads(state.read_text())["state"]
            if document["position"] == [1, 0, 3] and document["within"]:  # in the second task's sleep
                break
        time.sleep(0.01)
    members = children(job.pid)
    follower = next(pid for pid, rank in members.items() if rank == "1")
    os.kill(follower, signal.SIGKILL)
    said = job.communicate(timeout=120)[1]
    assert job.returncode != 0
    assert "error: process 0 of 2 lost another one" in said or "interrupted" in said
    before = json.loads(state.read_text())["state"]
    assert before["position"] == [1, 0, 3]
    assert before["within"]["step"] > 0
    done = run("--resume", folder)
    assert done.returncode == 0, done.stderr
    known = summary(folder)["methods"]["mygo"]["task_known"]["matrix"][-1]
    assert min(known) > 0.9


def children(parent):
    """Process id and rank of the processes that `parent` started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True)
    found = {}
    for pid in map(int, listed.stdout.split()):
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        values = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
        if b"RANK" in values:
            found[pid] = values[b"RANK"].decode()
    return found


def test_bad_options_are_told_once(tmp_path):
    done = pair("--tasks", "3", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("does not divide 10 classes") == 1
    assert not list(tmp_path.iterdir())


def test_a_batch_smaller_than_the_team_is_refused():
    options = TrainOptions(sleep=SleepOptions(batch_size=3))
    check_team(options, Team(0, 3))
    with pytest.raises(MygoEdgeError, match="a sleep's batch of 3 cannot be divided among 4 processes"):
        check_team(options, Team(0, 4))


def test_the_parts_of_a_plan_cover_every_dream_once():
    for plan in (plan_dreams(5, 3, None), plan_dreams(10, 3, 4)):
        total = sum(plan.counts)
        parts = [plan.part(place, Team(rank, 3)) for place in range(plan.steps) for rank in range(3)]
        rows = [row for rank, world in parts for row in range(rank, total, world)]
        assert sorted(rows) == list(range(total))
