"""Everything that has to be measured on a GPU, in one command of a given time.

    python bench/gpu.py [--out bench/results/NAME-DATE] [--seconds 480] [--data-root DIR]

First the correctness suites of the kernels and of captured steps, on the device; while they are red, nothing is timed.
Then every kernel against PyTorch and against its prediction, the benchmarks of the sleep's step, the GAN's and dreams,
with what the card can do at best, a report with pictures, and what decides which kernels stay (fate.md). Every step
has a limit, and all together have `--seconds`: what does not fit is left out, and steps.md says so, and which step took
how long. With --data-root, MNIST's, a whole Split-MNIST run too, after that and in its own time. Without CUDA
it says so and exits with status 2; `pytest bench` measures CPUs. Not yet run on a GPU.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
CORRECTNESS = (
    "tests/kernels",
    "tests/learn/test_capture.py",
    "tests/learn/pixels/test_wake_and_sleep.py::test_captured_and_compiled_steps_change_nothing_but_the_order_of_sums_on_cuda[graph]",
)
# The sleep first: it has the fewer cases, and the time may be up before all of the dreams'.
SUITES = ("bench/test_sleep.py", "bench/test_memory.py", "bench/test_dreams.py")
SECONDS = 480.0
# Most seconds of a step; the last two are kept for them. docs/performance.md says what each is expected to take.
LIMITS = {"correctness": 180.0, "kernels": 90.0, "benchmarks": 330.0, "report": 20.0, "fate": 10.0}
SETTING_UP = 20.0  # of the benchmarks' time: imports before, and what the card can do at best after the last one
OVER = 124  # status of what was stopped, as timeout(1) has it

Run = Callable[[list[str], Path, float | None], int]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: status is 0, what its command ended with, OVER, or None where there was no time for it."""

    name: str
    status: int | None
    seconds: float

    @property
    def outcome(self) -> str:
        if self.status is None:
            return "left out: no time was left"
        return {0: "done", OVER: "stopped: its time was over"}.get(self.status, f"failed, status {self.status}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for everything (default: {SECONDS:g})")
    parser.add_argument("--data-root", type=Path, help="folder of MNIST: measure a whole run too")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, for the record")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: this machine has no usable CUDA device; `python -m pytest bench` measures CPUs", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name().replace(" ", "-").lower()
    out = (given.out or ROOT / "bench" / "results" / f"{name}-{date.today()}").resolve()
    return everything(out, given.seconds, given.data_root, given.beside, run)


def everything(
    out: Path,
    seconds: float,
    data_root: Path | None,
    beside: str,
    run: Run,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """All of it, into the folder `out`. The worst status, of which a step without time is none.

    Args:
        run: runs Python on words and keeps the output, for so many seconds at most.
        clock: seconds, for tests.
    """
    out.mkdir(parents=True, exist_ok=True)
    end, steps, later = clock() + seconds, [], dict(LIMITS)
    results = [out / "benchmarks.json"]

    def step(name: str, words: Callable[[float], list[str]]) -> Step:
        """Run the words that are made of the seconds the step has; what `later` needs is kept."""
        limit, begun = later.pop(name), clock()
        kept = sum(one for which, one in later.items() if which in ("report", "fate"))
        limit = min(limit, end - begun - kept)
        status = run(words(limit), out / f"{name}.txt", limit) if limit > 0 else None
        steps.append(Step(name, status, clock() - begun))
        (out / "steps.md").write_text(table(steps, seconds))
        return steps[-1]

    if step("correctness", lambda limit: ["-m", "pytest", "-q", "-n", "4", *CORRECTNESS]).status != 0:
        print(f"error: the kernels' tests fail here, so nothing is timed; see {out}/correctness.txt", file=sys.stderr)
        return 2
    step(
        "kernels", lambda limit: ["-m", "bench.fate", "--seconds", f"{limit - 10:.0f}", "--to", str(out / "fate.json")]
    )
    how = ["--each", "0.4", "--beside", beside, f"--benchmark-json={results[0]}"]
    step(
        "benchmarks",
        lambda limit: ["-m", "pytest", "-n", "0", *SUITES, "--stop-after", f"{limit - SETTING_UP:.0f}", *how],
    )
    made = [str(path) for path in results if path.exists()]
    if made:
        step("report", lambda limit: ["-m", "bench.report", *made, "--to", str(out)])
    words = ["-m", "bench.fate", "--from", str(out / "fate.json"), "--to", str(out / "fate.md")]
    step("fate", lambda limit: [*words, *(["--benchmarks", made[0]] if made else [])])
    print(table(steps, seconds), end="")
    status = max(one.status or 0 for one in steps)
    if data_root:
        words = ["bench/test_peers.py", "-k", "mygo_edge", "--peers", "--data-root", str(data_root)]
        how = ["--beside", beside, f"--benchmark-json={out / 'run.json'}"]
        status = max(status, run(["-m", "pytest", "-n", "0", *words, *how], out / "run.txt", None))
    return status


def table(steps: list[Step], seconds: float) -> str:
    """Markdown: a row a step, with its limit."""
    lines = ["| step | seconds | limit | |", "|---|---:|---:|---|"]
    lines += [f"| {one.name} | {one.seconds:.0f} | {LIMITS[one.name]:.0f} | {one.outcome} |" for one in steps]
    lines.append(f"| together | {sum(one.seconds for one in steps):.0f} | {seconds:.0f} | |")
    return "\n".join(lines) + "\n"


def run(words: list[str], log: Path, limit: float | None) -> int:
    """Run Python on `words` in the repository, with its output shown and kept, and stop it and all that it started once
    `limit` seconds are over; its status.
    """
    print("$ python " + " ".join(words), flush=True)
    over = threading.Event()
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

        def stop() -> None:
            over.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit if limit is not None else threading.TIMEOUT_MAX, stop)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
        status = process.wait()
        timer.cancel()
    return OVER if over.is_set() else status


if __name__ == "__main__":
    sys.exit(main())
