"""Everything that has to be measured on a GPU, in one call of a few minutes.

    python bench/gpu.py [--out bench/results/NAME-DATE] [--seconds 440]

First the correctness suite of the kernels, on the device; while it is red, nothing is timed. Then what the card can do
(copy bandwidth, matrix products), dreams a second, and milliseconds a step of the sleep. Results are written as they
come. Without CUDA it says so and exits with status 2; `bench/dreaming.py` and `bench/sleeping.py` measure CPUs.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import dreaming, sleeping
from bench.measuring import copy_bandwidth, matmul_rate, surroundings
from mygo_edge.kernels.backend import explain_backend

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument(
        "--seconds", type=float, default=440.0, help="begin no measurement of dreams after half of this"
    )
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, for the record")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "error: this machine has no usable CUDA device; bench/dreaming.py and bench/sleeping.py measure CPUs",
            file=sys.stderr,
        )
        return 2
    started = time.monotonic()
    device = torch.device("cuda")
    name = torch.cuda.get_device_name().replace(" ", "-").lower()
    out = given.out or ROOT / "bench" / "results" / f"{name}-{date.today()}"
    out.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {
        "command": "python bench/gpu.py " + " ".join(sys.argv[1:]),
        "surroundings": surroundings(device, given.beside),
        "backend": explain_backend(),
    }

    def keep(**values: Any) -> None:
        summary.update(values)
        (out / "gpu.json").write_text(json.dumps(summary, indent=1) + "\n")
        print(json.dumps(values), flush=True)

    gate = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/kernels"], cwd=ROOT, capture_output=True, text=True
    )
    (out / "correctness.txt").write_text(gate.stdout + gate.stderr)
    keep(correctness=gate.stdout.strip().splitlines()[-1] if gate.stdout.strip() else gate.stderr[-300:])
    if gate.returncode:
        print("error: the kernels' tests fail here, so nothing is timed; see correctness.txt", file=sys.stderr)
        return 2
    keep(
        copy_bytes_per_second=copy_bandwidth(device),
        matmul_flop_per_second={
            str(dtype): matmul_rate(device, dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16)
        },
    )
    dtype = torch.bfloat16
    limits = dreaming.limits_of(device, dtype)
    seconds = max(60.0, given.seconds / 2 - (time.monotonic() - started))
    rows = dreaming.measure_dreams(device, limits, dtype, seconds=seconds)
    dreaming.write(rows, limits, summary, out)
    document = sleeping.measure(device, beside=given.beside)
    sleeping.write({**document, "command": summary["command"]}, out)
    keep(wall_seconds=time.monotonic() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
