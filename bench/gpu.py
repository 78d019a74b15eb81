"""Everything that has to be measured on a GPU, in one call of a few minutes.

    python bench/gpu.py [--out bench/results/NAME-DATE] [--seconds 300] [--data-root DIR]

First the correctness suite of the kernels, on the device; while it is red, nothing is timed. Then the benchmarks of the
sleep's step and of dreams, with what the card can do at best, and a report with pictures; with --data-root, MNIST's, a
whole Split-MNIST run too. Without CUDA it says so and exits with status 2; `pytest bench` measures CPUs.
"""

import argparse
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=300.0, help="begin no measurement after this (default: 300)")
    parser.add_argument("--data-root", type=Path, help="folder of MNIST: measure a whole run too")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, for the record")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: this machine has no usable CUDA device; `python -m pytest bench` measures CPUs", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name().replace(" ", "-").lower()
    out = (given.out or ROOT / "bench" / "results" / f"{name}-{date.today()}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    if run(["-m", "pytest", "-q", "-n", "0", "tests/kernels"], out / "correctness.txt"):
        print(f"error: the kernels' tests fail here, so nothing is timed; see {out}/correctness.txt", file=sys.stderr)
        return 2
    # The sleep first: it has the fewer cases, and the time may be up before all of the dreams'.
    beside = ["--beside", given.beside]
    suites = [
        "bench/test_sleep.py",
        "bench/test_memory.py",
        "bench/test_dreams.py",
        "--stop-after",
        str(given.seconds),
        *beside,
    ]
    results = [out / "benchmarks.json"]
    status = run(["-m", "pytest", *suites, f"--benchmark-json={results[0]}"], out / "benchmarks.txt")
    if given.data_root:
        whole = ["bench/test_peers.py", "-k", "mygo_edge", "--peers", "--data-root", str(given.data_root), *beside]
        results.append(out / "run.json")
        status |= run(["-m", "pytest", *whole, f"--benchmark-json={results[1]}"], out / "run.txt")
    made = [str(path) for path in results if path.exists()]
    return run(["-m", "bench.report", *made, "--to", str(out)], out / "report.txt") | status


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
