"""Reports of the benchmarks: what they say, what they call slower, and what they refuse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.report.results import ReportError, read
from bench.report.tables import report

ROOT = Path(__file__).parents[2]


def results(path: Path, seconds: dict[str, float], **more: Any) -> Path:
    """A results file of one group, `classify`, whose baseline is eager."""
    facts = {"suite": "inference", "batch": 1, "threads": 1, "samples": 1, "flop": 2e6, "bytes": 1e6}
    rows = [
        {
            "group": "classify",
            "stats": {"median": value, "q1": 0.9 * value, "q3": 1.1 * value},
            "extra_info": {**facts, "contender": name, "baseline": "eager", "megabytes": 1.0},
        }
        for name, value in seconds.items()
    ]
    machine = {"device": "a machine", "flop_per_second": 1e9, "bytes_per_second": 1e10}
    path.write_text(json.dumps({"benchmarks": rows, "machine_info": machine, "command": "a command", **more}))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.report", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_report_gives_medians_ratios_to_the_baseline_floors_and_what_was_not_measured(tmp_path: Path) -> None:
    left = [
        {"group": "classify", "contender": "int8", "outcome": "failed", "reason": "int8 loses 3% of the answers"},
        {"group": "classify", "contender": "triton", "outcome": "skipped", "reason": "Skipped: no GPU here"},
    ]
    path = results(tmp_path / "one.json", {"eager": 4e-3, "fp32": 1e-3}, not_measured=left)
    text = report(read(path))
    assert "| eager | 4.00 |" in text
    assert "| fp32 | **1.00** (4.00) |" in text
    assert "| *least, arithmetic* | 2.00 |" in text, "2e6 operations at 1e9 a second"
    assert "- **wrong** int8, 1 case: int8 loses 3% of the answers" in text
    assert "- triton, 1 case: no GPU here" in text
    assert "a command" in text


def test_a_report_is_written_with_pictures_and_one_table_of_all_rows(tmp_path: Path) -> None:
    paths = [results(tmp_path / f"{name}.json", {"eager": 4e-3, "fp32": 1e-3}) for name in ("one", "two")]
    done = run(*paths, "--to", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "to" / "report.csv").read_text().splitlines()) == 1 + 4
    for name in ("one", "two"):
        assert (tmp_path / "to" / name / "inference.png").read_bytes().startswith(b"\x89PNG")


def test_a_slower_machine_is_no_regression_but_a_worse_ratio_is(tmp_path: Path) -> None:
    old = results(tmp_path / "old.json", {"eager": 4e-3, "fp32": 1e-3, "int8": 1e-3})
    slow_machine = results(tmp_path / "slow.json", {"eager": 8e-3, "fp32": 2e-3, "int8": 2e-3})
    same = run(slow_machine, "--against", old)
    assert same.returncode == 0, same.stdout
    worse = run(results(tmp_path / "worse.json", {"eager": 4e-3, "fp32": 1.5e-3, "int8": 1e-3}), "--against", old)
    assert worse.returncode == 1
    assert "slower: classify: fp32 takes 1.50 times as long as before" in worse.stdout
    assert "int8" not in worse.stdout
    assert run(tmp_path / "worse.json", "--against", old, "--allow", 60).returncode == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b'{"benchmarks": []}',
        b'{"benchmarks": [], "machine_info": {}}',
        b'{"benchmarks": [{"group": "g"}], "machine_info": {}}',
        b'{"benchmarks": [{"group": "g", "stats": {"median": 1, "q1": 1, "q3": 1}, "extra_info": {"contender": "c", '
        b'"suite": "dreams"}}], "machine_info": {}}',
    ],
)
def test_what_is_no_results_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=r"bad\.json holds no"):
        read(path)


def test_refusals_end_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for arguments in ((tmp_path / "bad.json",), (tmp_path / "missing.json",)):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
