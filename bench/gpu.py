"""Everything that has to be measured on a GPU, in one call of less than eight minutes.

    python bench/gpu.py [--out bench/results/NAME-DATE] [--seconds 240] [--data-root DIR]

First the correctness suites of the kernels and of captured steps, on the device; while they are red, nothing is timed.
Then every kernel against PyTorch and against its prediction, which decides what stays (fate.md), the benchmarks of the
sleep's step, the GAN's and dreams, with what the card can do at best, and a report with pictures; with --data-root,
MNIST's, a whole Split-MNIST run too, which takes its own time. Without CUDA it says so and exits with status 2;
`pytest bench` measures CPUs. Not yet run on a GPU.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
CORRECTNESS = ("tests/kernels", "tests/learn/test_capture.py")
# The sleep first: it has the fewer cases, and the time may be up before all of the dreams'.
SUITES = ("bench/test_sleep.py", "bench/test_memory.py", "bench/test_dreams.py")

Run = Callable[[list[str], Path], int]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=240.0, help="begin no measurement after this (default: 240)")
    parser.add_argument("--data-root", type=Path, help="folder of MNIST: measure a whole run too")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, for the record")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: this machine has no usable CUDA device; `python -m pytest bench` measures CPUs", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name().replace(" ", "-").lower()
    out = (given.out or ROOT / "bench" / "results" / f"{name}-{date.today()}").resolve()
    return everything(out, given.seconds, given.data_root, given.beside, run)


def everything(out: Path, seconds: float, data_root: Path | None, beside: str, run: Run) -> int:
    """All of it, into the folder `out`; `run` runs Python on words and keeps the output. The worst status."""
    out.mkdir(parents=True, exist_ok=True)
    if run(["-m", "pytest", "-q", "-n", "4", *CORRECTNESS], out / "correctness.txt"):
        print(f"error: the kernels' tests fail here, so nothing is timed; see {out}/correctness.txt", file=sys.stderr)
        return 2
    status = run(["-m", "bench.fate", "--to", str(out / "fate.md")], out / "fate.txt")
    results = [out / "benchmarks.json"]
    how = ["--stop-after", str(seconds), "--beside", beside, f"--benchmark-json={results[0]}"]
    status = max(status, run(["-m", "pytest", "-n", "0", *SUITES, *how], out / "benchmarks.txt"))
    if data_root:
        results.append(out / "run.json")
        words = ["bench/test_peers.py", "-k", "mygo_edge", "--peers", "--data-root", str(data_root)]
        how = ["--beside", beside, f"--benchmark-json={results[1]}"]
        status = max(status, run(["-m", "pytest", "-n", "0", *words, *how], out / "run.txt"))
    made = [str(path) for path in results if path.exists()]
    return max(status, run(["-m", "bench.report", *made, "--to", str(out)], out / "report.txt"))


def run(words: list[str], log: Path) -> int:
    """Run Python on `words` in the repository, with its output shown and kept; its status."""
    print("$ python " + " ".join(words), flush=True)
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
