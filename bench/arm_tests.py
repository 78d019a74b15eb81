"""The device's tests, tests/device, on emulated 64-bit ARM.

    python -m bench.arm_tests [--to FILE] [pytest's arguments]

They run with Debian's Python and the aarch64 wheels that bench/arm.py prepares, and with those of what tests need:
PyTorch, which makes the bundles that they load, onnx, Pillow, cryptography, tokenizers and pytest. Commands that a test
starts are emulated, too. It takes half an hour; `tests/device/test_portable.py` alone, less than a minute.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.arm import ROOT, emulated, fetch, prepare
from bench.written import add_option, write

TESTS = Path("tests") / "device"
PACKAGES = (
    *("torch==2.8.0", "onnx==1.19.0", "ml_dtypes==0.5.3", "protobuf==6.32.0"),  # newer ones were not tried in qemu 7.2
    *("pillow==11.3.0", "cryptography==45.0.6", "cffi==1.17.1", "pycparser==2.22", "tokenizers==0.22.0"),
    *("sympy", "mpmath", "networkx", "jinja2", "MarkupSafe", "filelock", "fsspec", "typing_extensions"),
    *("pytest==9.2.0", "pluggy==1.7.0", "iniconfig", "packaging", "pygments"),
    *("hypothesis==6.135.0", "sortedcontainers", "attrs"),
)
# `max`, which is the default, promises PyTorch instructions that qemu 7.2 does not have.
PROCESSOR = ["-cpu", "cortex-a76"]
# onnxruntime takes the names of processors from /proc/cpuinfo, which is this machine's.
NOISE = "cpuid_info warning"


def tools(work: Path) -> Path:
    """The folder of the wheels that tests need, for aarch64, fetched once."""
    folder = work / "tools"
    if not (folder / "ready").exists():
        fetch("install", "--target", str(folder), *PACKAGES)
        (folder / "ready").touch()
    return folder


def launcher(work: Path) -> Path:
    """A program that stands for Python on ARM, for tests that start one."""
    command = shlex.join(emulated(work, [], tools(work), work, processor=PROCESSOR))
    script = work / "python"
    script.write_text(f'#!/bin/bash\nexec {command} "$@" 2> >(grep --line-buffered -v "{NOISE}" >&2)\n')
    script.chmod(0o755)
    (work / "emulated.py").write_text(f"import sys\n\nsys.executable = {str(script)!r}\n")
    return script


def outcomes(report: Path) -> dict[str, Any]:
    """File -> how many tests passed, and which did not, and why, of a report in JUnit's form."""
    found: dict[str, Any] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        part = found.setdefault(case.get("classname", "").rpartition(".")[2], {"passed": 0})
        unlike = [(kind, child) for kind in ("failure", "error", "skipped") if (child := case.find(kind)) is not None]
        part["passed"] += not unlike
        for kind, child in unlike:
            part.setdefault(kind, {})[case.get("name", "")] = child.get("message", "").partition("\n")[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "mygo_edge" / "arm")
    add_option(parser)
    options, more = parser.parse_known_args()
    work = options.work.resolve()
    prepare(work)
    python = launcher(work)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-m", "pytest", "-p", "emulated", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(ROOT)]
        words += [f"--junitxml={report}", "-q", *(more or [str(TESTS)])]
        done = subprocess.run([python, *words], cwd=ROOT, env=environment, check=False)
        if not report.exists():
            sys.exit("pytest did not run")
        result = {
            "command": shlex.join(["python", "-m", "bench.arm_tests", *more]),
            "machine": "aarch64, emulated",
            "tests": outcomes(report),
        }
    write(result, options.to)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
