"""How everything here is measured. Options stand under "mygo_edge" in `pytest bench --help`.

Every way is checked before it is timed; one that is wrong fails and has no time, one that cannot run here is skipped
with its reason, and both go into the results' file.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contenders import CannotRunError, Way
from bench.contenders.inference import Learnt
from bench.measuring import copy_bandwidth, matmul_rate, surroundings
from bench.turns import Deadline, Recorded, Timed, in_turns
from mygo_edge.kernels.exactness import set_exact_arithmetic
from mygo_edge.run.allocator import keep_freed_memory

Measure = Callable[..., None]
SECONDS = {False: 1.0, True: 0.25}  # of timing a way, by --quick


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mygo_edge")
    group.addoption("--quick", action="store_true", help="fewer and smaller cases: under two minutes on two cores")
    group.addoption("--threads", type=int, default=1, help="threads of PyTorch in dreams and sleep (default: 1)")
    group.addoption("--run", type=Path, help="finished run whose network is measured (default: a small one, made now)")
    group.addoption("--data-root", type=Path, help="dataset of --run, and MNIST for what learns it")
    group.addoption("--peers", action="store_true", help="learn Split-MNIST beside other packages, for many minutes")
    group.addoption("--each", type=float, metavar="SECONDS", help="time a way so long (default: 1; with --quick, 0.25)")
    group.addoption("--stop-after", type=float, metavar="SECONDS", help="time nothing after so long, and say so")
    group.addoption("--beside", default="nothing", help="what else runs on the machine, for the record")


def pytest_configure(config: pytest.Config) -> None:
    for name in ("run", "data_root"):
        folder = config.getoption(name)
        if folder is not None and not folder.is_dir():
            raise pytest.UsageError(f"--{name.replace('_', '-')} {folder} is no folder")
    if config.getoption("threads") < 1:
        raise pytest.UsageError(f"--threads {config.getoption('threads')}: there must be one at least")
    torch.set_num_threads(config.getoption("threads"))
    if torch.cuda.is_available():
        set_exact_arithmetic()
    keep_freed_memory()  # as the learner does
    config.stash[_NOT_MEASURED], config.stash[_TIMED] = [], {}
    config.stash[_DEADLINE] = Deadline(config.getoption("stop_after"))


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
        words = "--tasks 2 --methods mygo --measure.no-dreams --wake.epochs 1 --wake.min-steps 60 --wake.batch-size 64"
        words += " --memory.epochs 1 --memory.min-steps 200 --memory.batch-size 32 --sleep.steps 60"
        command = [sys.executable, "-m", "mygo_edge.train", *words.split(), "--sleep.dreams-per-task", "24"]
        subprocess.run([*command, "--out", str(run)], check=True, stdout=subprocess.DEVNULL)
    return Learnt(run, data_root, work)


@pytest.fixture
def measure(benchmark: Any, device: torch.device, request: pytest.FixtureRequest) -> Iterator[Measure]:
    """`measure(make, group=..., suite=..., baseline=..., **facts)` times the way that `make(name)` makes, for the
    test's parameter `name`, in turns with the others of its group, and lets pytest-benchmark tell.

    Facts go into the results. Among them `flop` and `bytes`, the least that a run takes, `samples`, how many it makes,
    and `baseline`, the name that ratios of the group are against.
    """
    config, name = request.config, request.node.callspec.params["name"]

    def timed(make: Callable[[Any], Way], *, group: str, **facts: Any) -> None:
        benchmark.group, benchmark.name = group, str(name)
        benchmark.extra_info.update(contender=str(name), **facts)
        within = torch.inference_mode if facts["suite"] == "dreams" else nullcontext
        if benchmark.disabled:
            with within():
                try:
                    way = make(name)
                except CannotRunError as reason:
                    pytest.skip(str(reason))
                way.check()
                benchmark(way.run)
            return
        if group not in config.stash[_TIMED]:
            ways = {other: partial(make, other) for other in _names_beside(request)}
            seconds = config.getoption("each") or SECONDS[config.getoption("quick")]
            found = in_turns(ways, device, seconds, within, config.stash[_DEADLINE])
            config.stash[_TIMED] = {group: found}  # the one before is done with
        result = config.stash[_TIMED][group][name]
        if isinstance(result, CannotRunError):
            pytest.skip(str(result))
        if isinstance(result, Exception):
            raise result
        _CLOCK.load(result.seconds)
        benchmark.pedantic(_CLOCK.tick, rounds=len(result.seconds))
        benchmark.extra_info["megabytes"] = round(result.megabytes, 1)

    yield timed
    torch.compiler.reset()


def _names_beside(request: pytest.FixtureRequest) -> list[Any]:
    """The parameters `name` of all selected tests that differ from this one in nothing else."""

    def rest(item: Any) -> Any:
        given = getattr(item, "callspec", None)
        others = {key: value for key, value in given.params.items() if key != "name"} if given else None
        return item.path, getattr(item, "originalname", None), others

    return [item.callspec.params["name"] for item in request.session.items if rest(item) == rest(request.node)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "measure" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(timer=_CLOCK))


# --- The results' file ------------------------------------------------------------------------------------------------

_NOT_MEASURED = pytest.StashKey[list[dict[str, str]]]()
_DEADLINE = pytest.StashKey[Deadline]()
_TIMED = pytest.StashKey[dict[str, dict[Any, Timed | Exception]]]()  # of the group that is being told
_CLOCK = Recorded()


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
    machine_info["flop_per_second"] = matmul_rate(device)
    if device.type == "cuda":
        machine_info["flop_per_second, bfloat16"] = matmul_rate(device, torch.bfloat16)


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """What was not measured and why, and the command; without the single times, which are most of the bytes."""
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)
        benchmark.pop("options", None)
    output_json["commit_info"] = {key: output_json["commit_info"].get(key) for key in ("id", "time", "dirty")}
    output_json["not_measured"] = config.stash[_NOT_MEASURED]
    private = {str(config.getoption(name)): name.upper() for name in ("run", "data_root") if config.getoption(name)}
    words = [private.get(word, word) for word in sys.argv[1:]]
    output_json["command"] = " ".join(["python -m pytest", *words])
