"""How everything here is measured. Options stand under "mygo_edge" in `pytest bench --help`.

Every way is checked before it is timed; one that is wrong fails and has no time, one that cannot run here is skipped
with its reason, and both go into the results' file.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contenders import CannotRunError, Way
from bench.contenders.inference import Learnt
from bench.measuring import PeakMemory, copy_bandwidth, matmul_rate, surroundings
from mygo_edge.run.allocator import keep_freed_memory

Measure = Callable[..., None]
SECONDS = {False: 1.0, True: 0.25}  # of timing a contender, by --quick
ROUNDS = (3, 200)  # fewest and most
SHORTEST = 1e-4  # seconds of a round: shorter work is repeated within it


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mygo_edge")
    group.addoption("--quick", action="store_true", help="fewer and smaller cases: under two minutes on two cores")
    group.addoption("--threads", type=int, default=1, help="threads of PyTorch in dreams and sleep (default: 1)")
    group.addoption("--run", type=Path, help="finished run whose network is measured (default: a small one, made now)")
    group.addoption("--data-root", type=Path, help="dataset of --run, and MNIST for what learns it")
    group.addoption("--peers", action="store_true", help="learn Split-MNIST beside other packages, for many minutes")
    group.addoption("--stop-after", type=float, metavar="SECONDS", help="begin no measurement after so long")
    group.addoption("--beside", default="nothing", help="what else runs on the machine, for the record")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(config.getoption("threads"))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    keep_freed_memory()  # as the learner does
    config.stash[_NOT_MEASURED], config.stash[_STARTED] = [], time.monotonic()


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """The run of --run, or a small one on the embedded digits."""
    run, data_root = request.config.getoption("run"), request.config.getoption("data_root")
    work = tmp_path_factory.mktemp("learnt")
    if run is None:
        run, data_root = work / "digits", None
        words = "--methods mygo --measure.no-dreams --wake.epochs 1 --wake.min-steps 60 --wake.batch-size 64"
        words += " --memory.epochs 1 --memory.min-steps 200 --memory.batch-size 32 --sleep.steps 60"
        command = [sys.executable, "-m", "mygo_edge.train", *words.split(), "--sleep.dreams-per-task", "24"]
        subprocess.run([*command, "--out", str(run)], check=True, stdout=subprocess.DEVNULL)
    return Learnt(run, data_root, work)


@pytest.fixture
def measure(benchmark: Any, device: torch.device, request: pytest.FixtureRequest) -> Iterator[Measure]:
    """`measure(make_way, group=..., contender=..., **facts)` makes, checks and times a `Way`.

    Facts go into the results. Among them `flop` and `bytes`, the least that one of what is measured takes, `samples`,
    how many it makes, and `baseline`, the contender that ratios of the group are against.
    """
    seconds = SECONDS[request.config.getoption("quick")]

    def timed(
        make_way: Callable[[], Way], *, group: str, contender: str, rounds: int | None = None, **facts: Any
    ) -> None:
        benchmark.group, benchmark.name = group, contender
        limit = request.config.getoption("stop_after")
        if limit is not None and time.monotonic() - request.config.stash[_STARTED] > limit:
            pytest.skip(f"the {limit:g} seconds that were given were over")
        with torch.inference_mode(facts["suite"] == "dreams"):
            try:
                way = make_way()
                way.check()
            except CannotRunError as reason:
                pytest.skip(str(reason))
            benchmark.extra_info.update(contender=contender, **facts)

            def run() -> None:
                way.run()
                if device.type == "cuda":
                    torch.cuda.synchronize()

            if benchmark.disabled:
                benchmark(run)
                return
            for _ in range(2):  # the first warms up
                started = time.perf_counter()
                for _ in range(way.block):
                    run()
                once = time.perf_counter() - started
                if once > seconds:
                    break
            blocks = max(1, round(SHORTEST / once))
            rounds = rounds or min(ROUNDS[1], max(ROUNDS[0], int(seconds / (once * blocks))))
            benchmark.pedantic(run, rounds=rounds, iterations=blocks * way.block)
            with PeakMemory(device) as peak:
                for _ in range(way.block):
                    run()
            benchmark.extra_info["peak_megabytes"] = round(peak.megabytes, 1)

    yield timed
    torch.compiler.reset()


# --- The results' file ------------------------------------------------------------------------------------------------

_NOT_MEASURED = pytest.StashKey[list[dict[str, str]]]()
_STARTED = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    report = yield
    if report.when == "call" and report.outcome != "passed":
        fixture = getattr(item, "funcargs", {}).get("benchmark")
        reason = str(call.excinfo.value).splitlines()[0] if call.excinfo and str(call.excinfo.value) else report.outcome
        where = {
            "group": getattr(fixture, "group", None) or item.nodeid,
            "contender": getattr(fixture, "name", item.name),
        }
        item.config.stash[_NOT_MEASURED].append({**where, "outcome": report.outcome, "reason": reason})
    return report


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine_info.clear()
    machine_info.update(surroundings(device, config.getoption("beside")))
    machine_info["load_average"] = round(os.getloadavg()[0], 2)
    machine_info["bytes_per_second"] = copy_bandwidth(device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    machine_info["flop_per_second"] = matmul_rate(device, dtype)


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """What was not measured and why, and the command; without the single times, which are most of the bytes."""
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)
        benchmark.pop("options", None)
    output_json["not_measured"] = config.stash[_NOT_MEASURED]
    private = {str(config.getoption(name)): name.upper() for name in ("run", "data_root") if config.getoption(name)}
    words = [private.get(word, word) for word in sys.argv[1:]]
    output_json["command"] = " ".join(["python -m pytest", *words])
