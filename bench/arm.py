"""A bundle on 64-bit ARM, emulated: the same noise, dreams, answers and self-test as here, and what differs.

    python bench/arm.py [BUNDLE] [--work DIR] [--to FILE]

Needs Debian's `qemu-user-static`, apt and pip. Debian's Python and the aarch64 wheels of numpy and onnxruntime go into
a folder of their own; nothing is installed. Memory is measured here, since an emulator's is its own.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.written import add_option, write

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "tests" / "device" / "golden" / "bundle"
INTEGERS = ROOT / "tests" / "device" / "golden" / "integers"  # one whose int8 form convolves integers
# Newer ones end in a segmentation fault in qemu 7.2 while they are imported.
WHEELS = ("numpy==2.4.6", "onnxruntime==1.23.2")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
PACKAGES = [
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5"),
    *("libgomp1", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
]


def fetch(*words: str) -> None:
    """pip's `download` or `install`, with its options and requirements, of wheels for aarch64 and Python 3.11."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    command, *rest = words
    wheels = ["-q", "--no-deps", "--only-binary=:all:", "--python-version", "3.11", *platforms]
    subprocess.run([sys.executable, "-m", "pip", command, *wheels, *rest], check=True)


def prepare(work: Path) -> None:
    """Debian's arm64 Python under work/root and the wheels under work/site, unless they are there."""
    if (work / "ready").exists():
        return
    shutil.rmtree(work, ignore_errors=True)
    for name in ("state/lists/partial", "cache/archives/partial", "debs", "wheels", "root", "site"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()  # as if nothing were installed: this machine's packages have no part in it
    (work / "apt.conf").write_text(
        'APT::Architecture "arm64";\nAPT::Architectures { "arm64"; };\n'
        f'Dir::State "{work}/state";\nDir::State::status "{work}/status";\nDir::Cache "{work}/cache";\n'
    )
    apt = ["apt-get", "-c", str(work / "apt.conf"), "-qq"]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *PACKAGES], cwd=work / "debs", check=True)
    for package in (work / "debs").glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, work / "root"], check=True)
    fetch("download", "-d", str(work / "wheels"), *WHEELS)
    for wheel in (work / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(work / "site")
    (work / "ready").touch()


def probe(bundle: Path, mode: str, work: Path | None = None) -> dict[str, Any]:
    """What `device_probe` prints: of this machine, or, with a folder that was prepared, of an emulated one."""
    program = [str(ROOT / "bench" / "device_probe.py"), str(bundle), mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if work is None:
        command = [sys.executable, *program]
    else:
        command = emulated(work, program)
        environment.pop("PYTHONPATH")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def emulated(work: Path, arguments: list[str], *more: Path, processor: Sequence[str] = ()) -> list[str]:
    """The command that runs Python on emulated ARM, from a folder that was prepared, with `more` on its path.

    processor: qemu's option that names one.
    """
    path = ":".join(map(str, (work / "site", ROOT, *more)))
    variables = {"PYTHONHOME": work / "root" / "usr", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
    python = work / "root" / "usr" / "bin" / "python3.11"
    return ["qemu-aarch64-static", *processor, "-L", str(work / "root"), *words, str(python), *arguments]


def compare(here: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """What is equal to the last bit, and how far the rest is apart."""
    logits = [np.array(side["logits"], np.float32) for side in (here, there)]
    levels = [
        np.abs(np.array(here["dreams"][name], int) - np.array(there["dreams"][name], int)) for name in here["dreams"]
    ]
    every = np.concatenate(levels)
    return {
        "noise_equal": here["noise_sha256"] == there["noise_sha256"],
        "classes_equal": here["classes"] == there["classes"],
        "answers_equal": sum(a == b for a, b in zip(here["answers"], there["answers"], strict=True)),
        "answers": len(here["answers"]),
        "logits_max_difference": float(np.abs(logits[0] - logits[1]).max()),
        "logits_equal_share": float((logits[0] == logits[1]).mean()),
        "pixels_max_levels": int(every.max()),
        "pixels_equal_share": float((every == 0).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=BUNDLE)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "mygo_edge" / "arm")
    add_option(parser)
    options = parser.parse_args()
    prepare(options.work.resolve())
    bundle = options.bundle.resolve()
    here, there = probe(bundle, "compute"), probe(bundle, "compute", options.work.resolve())
    named = ("machine", "python", "numpy", "onnxruntime", "selftest")
    result = {
        "command": "python bench/arm.py",
        "here": {name: here[name] for name in named},
        "there": {name: there[name] for name in named},
        "compared": compare(here, there),
        "compared in int8": compare(probe(INTEGERS, "int8"), probe(INTEGERS, "int8", options.work.resolve())),
        "memory": {mode: probe(bundle, mode) for mode in ("predict", "learn")},
    }
    write(result, options.to)


if __name__ == "__main__":
    main()
