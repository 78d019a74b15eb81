"""The measurements behind docs/results.md: Split-MNIST, three seeds, all methods, and an ablation.

    python bench/mnist.py --data-root DIR [--dataset fashion-mnist] [--work runs/bench] [--jobs 2]

Each run is `python -m mygo_edge.train` with the options below; runs that were stopped go on, finished ones are kept.
Their summaries are copied to bench/results/DATASET/, with their configurations' versions and device, and are committed.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
BEST = ["--preset", "best"]
# The ablation changes one thing at a time from `ablation-base`, whose generators the sleeps' variants take over.
ABLATION = ["--methods", "mygo", "--memory.generator", "convolutional", "--measure.no-dreams"]
REUSE = [*ABLATION, "--memory.reuse", "{work}/ablation-base"]

RUNS: dict[str, list[str]] = {
    **{f"best-seed{seed}": [*BEST, "--methods", "mygo", "reference", "--seed", f"{seed}"] for seed in range(3)},
    **{
        f"baselines-seed{seed}": [*BEST, "--methods", "finetune", "frozen", "joint", "--seed", f"{seed}"]
        for seed in range(3)
    },
    **{f"patches-seed{seed}": ["--methods", "mygo", "--seed", f"{seed}"] for seed in range(3)},
    "reference-seed0": [*BEST, "--methods", "reference", "--seed", "0"],  # beside patches-seed0, for its time
    "fast-seed0": ["--preset", "fast", "--methods", "mygo", "reference"],
    "ablation-base": ABLATION,
    "ablation-no-sleep": [*REUSE, "--sleep.no-enabled"],
    "ablation-published-teacher": [*REUSE, "--sleep.teacher", "published"],
    "ablation-own-heads-only": [*REUSE, "--sleep.other-heads", "0"],
    "ablation-other-target-4": [*REUSE, "--sleep.other-target", "-4"],
    "ablation-few-large-steps": [*REUSE, "--sleep.steps", "333", "--sleep.dreams-per-task", "48"],
    "ablation-no-expert": [*REUSE, "--wake.no-expert"],
    "ablation-no-task-entropy": [*REUSE, "--sleep.task-entropy", "0"],
    "ablation-no-calibration": [*REUSE, "--sleep.no-calibrate"],
    "ablation-no-gaussians": [*ABLATION, "--memory.gaussians", "0"],
    "ablation-gaussians-alone": [*ABLATION, "--memory.gaussians", "1"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, help="folder with MNIST/raw or FashionMNIST/raw")
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "fashion-mnist"], help="which images")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="folder of the runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, help="threads of each run (default: cores / jobs)")
    parser.add_argument("--only", nargs="*", choices=list(RUNS), help="these runs alone")
    options = parser.parse_args()
    names = options.only or list(RUNS)
    work = options.work if options.dataset == "mnist" else options.work / options.dataset
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    base = [name for name in names if any(f"{{work}}/{name}" in part for run in RUNS.values() for part in run)]
    with ThreadPoolExecutor(options.jobs) as pool:  # what others build on is waited for first where it is needed
        done = {}
        for name in names:
            waits = [done[other] for other in base if any(f"/{other}" in part for part in RUNS[name]) and other in done]
            done[name] = pool.submit(run, name, options.dataset, work, options.data_root, threads, waits)
        for future in done.values():
            future.result()


def run(name: str, dataset: str, work: Path, data_root: str, threads: int, waits: list) -> None:
    """Run or resume one run to its end and copy its summary."""
    for earlier in waits:
        earlier.result()
    folder = work / name
    given = [part.format(work=work) for part in RUNS[name]]
    arguments = ["--dataset", dataset, "--data-root", data_root, "--out", str(folder), *given]
    if (folder / "config.json").exists():
        arguments = ["--resume", str(folder)]
    log = work / f"{name}.log"
    work.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        subprocess.run(
            [sys.executable, "-m", "mygo_edge.train", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdout=output,
            stderr=output,
            check=True,
        )
    summary = json.loads((folder / "summary.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    words = [part.format(work="RUNS") for part in RUNS[name]]
    summary["command"] = " ".join([f"python -m mygo_edge.train --dataset {dataset} --data-root DIR", *words])
    summary |= {key: config[key] for key in ("versions", "device", "git_commit")}
    (RESULTS / dataset).mkdir(parents=True, exist_ok=True)
    (RESULTS / dataset / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
