"""python -m mygo_edge.selftest: check a bundle on this device, say what was checked, and how fast it is."""

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST
from mygo_edge.bundle.reading import Bundle, current_version, read_version, version_folder
from mygo_edge.command import OneLineParser
from mygo_edge.errors import escaped, run_command
from mygo_edge.resident import forget_peak, peak_bytes

_ADDRESSES = 2**33  # bytes; what is really used is bounded by `mygo_edge.device.session.memory_limit`
_STEADY = 200  # predictions that the median is taken of


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds. load: read, verify and open; first: the first prediction; steady: median of later ones; dream: the
    first dream of a task, which opens its generator."""

    load: float
    first: float
    steady: float
    dream: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a check. Raises MygoEdgeError at the first that fails."""
    parser = OneLineParser(prog="python -m mygo_edge.selftest", description="Check a bundle on this device.")
    parser.add_argument("bundle", type=Path, help="the bundle's folder, or the folder of one version")
    parser.add_argument("--version", help="the version to check (default: the live one)")
    parser.add_argument("--public-key", type=Path, help="refuse a version that the owner of this key did not sign")
    parser.add_argument("--threads", type=int, default=1, help="threads of one prediction (default: 1)")
    parser.add_argument("--latency", action="store_true", help="measure loading and predicting one image, too")
    parser.add_argument(
        "--limit-seconds", type=int, help=argparse.SUPPRESS
    )  # the updater's, for what it does not trust
    options = parser.parse_args(arguments)
    if options.limit_seconds:
        _limit(options.limit_seconds)
    folder = options.bundle
    if options.version or not (folder / MANIFEST).exists():
        folder = version_folder(folder, options.version or current_version(folder))
    check(folder, options.public_key, options.threads)
    if options.latency:
        gc.collect()  # what the check held
        forget_peak()
        found = measure_latency(folder, options.threads)
        print(
            f"one input, {options.threads} thread(s): loaded in {found.load * 1e3:.1f} ms, first prediction "
            f"{found.first * 1e3:.2f} ms, then {found.steady * 1e3:.3f} ms (median of {_STEADY}); "
            f"first dream {found.dream * 1e3:.1f} ms"
        )
        if peak := peak_bytes():
            print(f"memory: {peak / 1e6:.0f} MB at most, Python and onnxruntime included")


def check(folder: Path, public_key: Path | None, threads: int) -> None:
    """Check the version in a folder, printing as it goes. Raises BundleError."""
    bundle = read_version(folder, public_key)
    _print_files(bundle)
    from mygo_edge.device.edge_model import EdgeModel  # onnxruntime takes time to import; files come first
    from mygo_edge.device.session import SessionOptions

    said: set[str] = set()
    for precision in bundle.manifest.precisions or (None,):
        for name, deviation in EdgeModel(bundle, SessionOptions(threads), precision=precision).run_selftest().items():
            if name not in said:  # generators are the same for every precision of the classifier
                print(f"{name}: computes what was published (off by {deviation:.1e})")
            said.add(name)
    print(escaped(f"{folder}: passed"))


def _print_files(bundle: Bundle) -> None:
    manifest = bundle.manifest
    tasks = ", ".join(f"{task.name} ({len(task.classes)} classes)" for task in manifest.tasks)
    print(f"{bundle.version}: sequence {manifest.sequence}, created {manifest.created}, tasks {tasks}")
    print(f"signature: {'made by the owner of the key' if bundle.signed else 'not checked, no key was given'}")
    total = sum(entry.size for entry in manifest.files)
    print(f"files: {len(manifest.files)}, {total} bytes, all of the size and SHA-256 in the manifest, none besides")


def measure_latency(folder: Path, threads: int = 1) -> Latency:
    """Load the version in a folder and predict one image again and again. Imports are not counted."""
    import numpy as np

    from mygo_edge.device.edge_model import EdgeModel
    from mygo_edge.device.session import SessionOptions

    started = time.perf_counter()
    model = EdgeModel(read_version(folder), SessionOptions(threads))
    loaded = time.perf_counter()
    one = model.example(1)
    times = []
    for _ in range(_STEADY + 1):
        before = time.perf_counter()
        model.predict(one)
        times.append(time.perf_counter() - before)
    before = time.perf_counter()
    model.dream(next(iter(model.tasks)))
    dreamt = time.perf_counter() - before
    return Latency(loaded - started, times[0], float(np.median(times[1:])), dreamt)


def _limit(seconds: int) -> None:
    """Bound this process's time and memory, and let it leave no core behind, before it opens what is not trusted."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = min(_ADDRESSES, sys.maxsize if hard == resource.RLIM_INFINITY else hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    run_command(main)
