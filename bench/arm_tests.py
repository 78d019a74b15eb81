"""The device's tests that need no torch, tests/device/test_portable.py, on emulated 64-bit ARM.

    python -m bench.arm_tests [--to FILE]

They run with Debian's Python and the aarch64 wheels that bench/arm.py prepares, and with pytest, which is Python alone.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from bench.arm import ROOT, emulated, prepare

TESTS = ROOT / "tests" / "device" / "test_portable.py"
PYTEST = ("pytest==9.2.0", "pluggy==1.7.0", "iniconfig", "packaging", "pygments")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "mygo_edge" / "arm")
    parser.add_argument("--to", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    work = options.work.resolve()
    prepare(work)
    tools = work / "pytest"
    if not tools.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tools, *PYTEST]
        subprocess.run(list(map(str, pip)), check=True)
    words = ["-m", "pytest", "-p", "no:cacheprovider", "--noconftest", "--rootdir", str(TESTS.parent), "-c", os.devnull]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = emulated(work, [*words, "-v", str(TESTS)], tools)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    tests = dict(pair for line in lines for pair in re.findall(r"::(.+) (PASSED|FAILED|ERROR|SKIPPED)", line))
    if not tests:
        sys.exit(f"pytest did not run: {(done.stdout + done.stderr)[-2000:]}")
    result = {"command": "python -m bench.arm_tests", "machine": "aarch64, emulated", "tests": tests}
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    if options.to:
        options.to.write_text(text)
    print(text, end="")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
