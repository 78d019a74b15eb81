"""Tables and pictures from results of the benchmarks.

    python -m pytest bench --benchmark-json=results.json
    python -m bench.report results.json [more.json ...] [--to DIR]
    python -m bench.report new.json --against old.json [--allow 25]

Without --to, the tables are printed. With --against, the command ends with status 1 when a way became slower in
comparison with the other ways of its group, which says more than seconds of different days or machines.
"""

import argparse
import sys
from pathlib import Path

from bench.report.plots import plot
from bench.report.results import ReportError, changes, read
from bench.report.tables import report, write_csv


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="files of --benchmark-json")
    parser.add_argument("--to", type=Path, help="folder for report.md, report.csv and pictures")
    parser.add_argument("--against", type=Path, help="older results to compare with")
    parser.add_argument("--allow", type=float, default=25.0, help="per cent slower that is no regression (default: 25)")
    given = parser.parse_args()
    try:
        every = [read(path) for path in given.results]
        old = read(given.against) if given.against else None
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.to:
        given.to.mkdir(parents=True, exist_ok=True)
        (given.to / "report.md").write_text("\n\n".join(map(report, every)) + "\n")
        write_csv(every, given.to / "report.csv")
        for results in every:
            folder = given.to / results.path.stem if len(every) > 1 else given.to
            folder.mkdir(exist_ok=True)
            plot(results, folder)
    elif old is None:
        print("\n\n".join(map(report, every)))
    if old is None:
        return 0
    found = [change for results in every for change in changes(results, old)]
    slower = [change for change in found if change.times > 1 + given.allow / 100]
    for change in slower:
        print(f"slower: {change.group}: {change.contender} takes {change.times:.2f} times as long as before")
    print(f"{len(found)} compared by their ratio to the group's baseline, {len(slower)} slower")
    if not found:
        print("error: the two files have nothing in common", file=sys.stderr)
        return 2
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
