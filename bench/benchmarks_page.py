"""Make docs/benchmarks.md and its pictures from committed results: python bench/benchmarks_page.py"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.contenders.sleeping import CHECKED_STEPS
from bench.report.plots import plot
from bench.report.results import SUITES, Results, read
from bench.report.tables import about, left_out, tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "cpu" / "benchmarks.json"
PEERS = ROOT / "bench" / "results" / "peers.json"


def main() -> None:
    results = read(RESULTS)
    (ROOT / "docs" / "benchmarks.md").write_text(page(results, read(PEERS)))
    plot(results, RESULTS.parent)


def page(results: Results, peers: Results) -> str:
    """docs/benchmarks.md. Raises KeyError where the text names what was not measured."""
    parts = {
        "machine": about(results),
        "file": RESULTS.relative_to(ROOT).as_posix(),
        "path": "../" + RESULTS.relative_to(ROOT).as_posix(),
        "images": "../" + RESULTS.parent.relative_to(ROOT).as_posix(),
        "checked_steps": str(CHECKED_STEPS),
        "left_out": left_out(results),
        **{suite: tables(results, suite) for suite in SUITES},
        "peers": tables(peers, "peers"),
        "peers_file": PEERS.relative_to(ROOT).as_posix(),
    }

    def fill(match: re.Match[str]) -> str:
        kind, _, what = match[1].partition(":")
        if not what:
            return parts[kind]
        group, contender = what.split("|")
        times = results.ratio(group, contender)
        if times is None:
            raise KeyError(f"{contender} of {group} was not measured")
        return f"{times:.2f}" if kind == "ratio2" else f"{times if kind == 'ratio' else 1 / times:.1f}"

    template = (ROOT / "docs" / "benchmarks.template.md").read_text()
    return re.sub(r"\{\{([^}]+)\}\}", fill, template)


if __name__ == "__main__":
    main()
