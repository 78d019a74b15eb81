"""Kill what box and device do, again and again, and look whether what is left loads. A program of its own.

Usage: kills.py FOLDER KILLS [SEED]. FOLDER is empty. Prints a JSON object: how often each action was killed at a random
moment, how often just before a random one of its operations on files, and how often it ended before its moment came.

A victim is a process that this one forks with everything imported, so that a kill takes a second or two and falls into
the work, not into the imports. It gets SIGKILL, as if the power failed; this process runs no thread and no tensor.
"""

import json
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sklearn.datasets  # noqa: F401  # as the next four: what commands and optimisers import when they begin
import torch._dynamo  # noqa: F401

import mygo_edge.experiment
import mygo_edge.export.publication
import mygo_edge.measure.plots  # noqa: F401
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError, run_command
from mygo_edge.export.__main__ import main as export
from mygo_edge.run.saved import open_learner
from mygo_edge.train import main as train
from mygo_edge.update.__main__ import main as bring
from mygo_edge.update.trust import read_trust
from tests.bundles import publish_tiny
from tests.update.servers import serving, slow

SMALL = [
    *(
        "--methods",
        "mygo",
        "--tasks",
        "0,1/2,3",
        "--checkpoint-seconds",
        "0.1",
        "--wake.epochs",
        "1",
        "--wake.min-steps",
        "10",
    ),
    *("--memory.epochs", "1", "--memory.min-steps", "40", "--memory.batch-size", "32", "--sleep.steps", "30"),
    *("--sleep.dreams-per-task", "16", "--measure.dreams-per-class", "20", "--measure.score-steps", "5"),
]
# What a run that was killed before its first phase ended says instead of being loaded, or going on.
EARLY = ("holds no run", "no checkpoint in", "has not finished its first phase")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "subprocess.Popen")
PATIENCE = 300.0  # seconds after which an action that nobody kills hangs


@dataclass(slots=True)
class Count:
    """seconds: that the action takes; operations: on files that it does, when it is not killed."""

    seconds: float
    operations: int
    moments: int = 0
    before_operations: int = 0
    ended: int = 0

    @property
    def kills(self) -> int:
        return self.moments + self.before_operations


def main(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    run, whole, device = folder / "run", folder / "whole", folder / "device"
    finish(fork(lambda: publish(folder / "box"), folder))
    address, server = served(folder / "box", folder)
    counts = {"train": measured(lambda: train([*SMALL, "--out", str(whole)]), whole, folder)}
    commands: dict[str, Callable[[], None]] = {
        "train": lambda: train([*SMALL, "--out", str(run)]),
        "resume": lambda: train(["--resume", str(run)]),
        "extend": lambda: train(["--extend", str(run), "--tasks", "4,5"]),
        "forget": lambda: train(["--forget", "task0", str(run)]),
        "export": lambda: export([str(run), "--precision", "fp16", "--to", str(run / "fp16")]),
        "update": lambda: bring([address, str(device), "--allow-downgrade"]),
    }
    for name in ("extend", "forget", "export"):
        begin(run, whole)
        counts[name] = measured(commands[name], run, folder)
    counts["resume"] = Count(counts["train"].seconds, counts["train"].operations)
    counts["update"] = measured(commands["update"], device, folder)

    def kill(name: str, where: Path) -> None:
        count = counts[name]
        at_moment = rng.random() < 0.5
        started = time.monotonic()
        if at_moment:
            status = wait(fork(commands[name], folder), rng.uniform(0, 1.05 * count.seconds))
        else:
            operation = rng.randrange(count.operations)

            def work() -> None:
                stop_before(operation, where)
                commands[name]()

            status = finish(fork(work, folder))
        if status == -signal.SIGKILL:
            count.moments += at_moment
            count.before_operations += not at_moment
            return
        said = (folder / "said").read_text()
        assert status == 0 or (status == 2 and any(words in said for words in EARLY)), (name, status, said)
        count.ended += 1
        count.seconds = time.monotonic() - started if at_moment else count.seconds

    def check(claim: Callable[[], None]) -> None:
        assert finish(fork(claim, folder)) == 0, (folder / "said").read_text()

    while sum(count.kills for count in counts.values()) < kills:
        for name in ("train", "extend", "forget"):
            early = name == "train"
            begin(run, None if early else whole)
            for action in (name, "resume"):
                kill(action, run)
                check(partial(loads, run, early))
        begin(run, whole)
        for _ in range(3):
            kill("export", run)
            check(partial(loads, run))
        for _ in range(6):
            (folder / "box" / "current").write_text(rng.choice(["v0002", "v0003"]))
            kill("update", device)
            check(partial(updated, device))
        print(sum(count.kills for count in counts.values()), file=sys.stderr, flush=True)
    os.kill(server, signal.SIGKILL)
    print(json.dumps({name: [c.moments, c.before_operations, c.ended] for name, c in counts.items()}))


def publish(box: Path) -> None:
    """Versions v0002 and v0003, for updates."""
    for tasks in (2, 3):
        publish_tiny(box, tasks)


def begin(run: Path, whole: Path | None) -> None:
    """Let the run's folder be absent, or a copy of a finished run."""
    shutil.rmtree(run, ignore_errors=True)
    if whole:
        shutil.copytree(whole, run)


def loads(run: Path, early: bool = False) -> None:
    """Whatever there is of a run and of its bundles is whole. early: it may be killed before it held anything."""
    try:
        open_learner(run)
    except MygoEdgeError as error:
        if not (early and any(words in str(error) for words in EARLY)):
            raise
    for bundle in (run / "bundle", run / "fp16"):
        if (bundle / "current").exists():
            EdgeModel.load(bundle)


def updated(device: Path) -> None:
    """The live version is one that was published, whole, and what is trusted can be read."""
    assert EdgeModel.load(device).version.partition(".")[0] in ("v0002", "v0003")
    read_trust(device)


def measured(work: Callable[[], None], where: Path, folder: Path) -> Count:
    """What an action takes that nobody kills. Raises AssertionError when it fails."""

    def counted() -> None:
        operations = 0

        def count() -> None:
            nonlocal operations
            operations += 1

        before_each_operation(where, count)
        work()
        (folder / "operations").write_text(str(operations))

    started = time.monotonic()
    assert finish(fork(counted, folder)) == 0, (folder / "said").read_text()
    return Count(time.monotonic() - started, int((folder / "operations").read_text()))


def stop_before(operation: int, where: Path) -> None:
    """Kill this process just before its n-th operation that changes something below a folder."""
    left = operation

    def count() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    before_each_operation(where, count)


def before_each_operation(where: Path, do: Callable[[], None]) -> None:
    place = str(where)

    def watch(event: str, details: tuple[object, ...]) -> None:
        opens = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if (opens or event in CHANGES) and place in str(details):
            do()

    sys.addaudithook(watch)


def fork(work: Callable[[], None], folder: Path) -> int:
    """Start a process that does this as a command does; what it says on standard error is in the file `said`."""
    if child := os.fork():
        return child
    status = 1
    try:
        silence, said = os.open(os.devnull, os.O_RDWR), os.open(folder / "said", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        for number, file in ((0, silence), (1, silence), (2, said)):
            os.dup2(file, number)
        run_command(work)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(child: int, seconds: float) -> int:
    """The status of a process when it ends, -SIGKILL of one that had to be killed after so many seconds."""
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(handle)


def finish(child: int) -> int:
    """The status of a process that nobody kills from outside. Raises AssertionError when it hangs."""
    started = time.monotonic()
    status = wait(child, PATIENCE)
    assert time.monotonic() - started < PATIENCE, "it hangs"
    return status


def served(box: Path, folder: Path) -> tuple[str, int]:
    """The address of a slow web server, and its process."""
    (folder / "address").unlink(missing_ok=True)

    def serve() -> None:
        with serving(box, slow, victim="") as server:
            (folder / "address").write_text(server.address)
            time.sleep(10**6)

    process = fork(serve, folder)
    while not (folder / "address").exists() or not (folder / "address").read_text():
        time.sleep(0.05)
    return (folder / "address").read_text(), process


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    main(where, int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
