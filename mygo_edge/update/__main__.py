"""python -m mygo_edge.update: bring a device's bundle to what was published, or back to the version before."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mygo_edge.bundle.reading import HEADS, current_version, read_manifest, version_folder
from mygo_edge.command import OneLineParser
from mygo_edge.errors import MygoEdgeError, run_command, warn
from mygo_edge.update.install import roll_back
from mygo_edge.update.source import Limits
from mygo_edge.update.updater import Report, Wish, update


def main(arguments: Sequence[str] | None = None) -> None:
    """Update or roll back, and print what was done. Raises MygoEdgeError for what a user can mend."""
    options = _parser().parse_args(arguments)
    if options.rollback:
        if len(options.places) != 1:
            raise MygoEdgeError(
                "--rollback takes the device's bundle alone: python -m mygo_edge.update BUNDLE --rollback"
            )
        left, live = roll_back(Path(options.places[0]), options.public_key)
        print(f"{options.places[0]}: back from {left} to {live}; {left} is not installed again by itself")
        return
    if len(options.places) != 2:
        raise MygoEdgeError("give the source and the device's bundle: python -m mygo_edge.update SOURCE BUNDLE")
    source, bundle = options.places
    limits = Limits(options.timeout, options.min_rate, options.deadline, options.max_bytes, options.attempts)
    wish = Wish(options.public_key, options.allow_downgrade, options.allow_rolled_back)
    report = update(source, Path(bundle), wish, limits)
    print(_summary(bundle, report))
    for reason in _stale_heads(Path(bundle)):
        warn(reason)
    print(f"signature: {'made by the owner of the key' if options.public_key else 'not checked, no key was given'}")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m mygo_edge.update",
        description="Fetch what is new in a published bundle, check and self-test it, and make it live at once. "
        "Whatever goes wrong, the version that was live stays live.",
    )
    defaults = Limits()
    parser.add_argument("places", nargs="+", metavar="SOURCE BUNDLE", help="a folder or http(s) address that holds "
                        "`current`, and the device's bundle (made when it is not there)")  # fmt: skip
    parser.add_argument("--public-key", type=Path, help="refuse a version that the owner of this key did not sign")
    parser.add_argument("--rollback", action="store_true", help="go back to the version before; give BUNDLE alone")
    parser.add_argument("--allow-downgrade", action="store_true", help="take an older version than the live one")
    parser.add_argument("--allow-rolled-back", action="store_true", help="take a version that was rolled back here")
    numbers: list[tuple[str, type, float, str]] = [
        ("--timeout", float, defaults.timeout, "seconds to connect, and of grace for every transfer"),
        ("--min-rate", float, defaults.min_rate, "bytes a second that a transfer must reach after that"),
        ("--deadline", float, defaults.deadline, "seconds for everything that is fetched"),
        ("--max-bytes", int, defaults.total, "bytes of a version"),
        ("--attempts", int, defaults.attempts, "connections for one file"),
    ]
    for name, kind, default, words in numbers:
        parser.add_argument(name, type=kind, default=default, help=f"{words} (default: {default})")
    return parser


def _stale_heads(bundle: Path) -> list[str]:
    """Why heads that were learnt on this device are not used any more."""
    if not (bundle / HEADS).is_dir():
        return []
    from mygo_edge.bundle.heads import read_heads  # imports numpy, which nothing else here needs

    manifest = read_manifest(version_folder(bundle, current_version(bundle)))
    return list(read_heads(bundle / HEADS, manifest, None)[1].values())


def _summary(bundle: str, report: Report) -> str:
    if not report.changed:
        return f"{bundle}: {report.version} is live and whole, and is what the source has"
    fetched = f"{len(report.fetched)} files fetched ({sum(report.fetched.values())} bytes)"
    return f"{bundle}: {report.before or 'nothing'} -> {report.version}, {fetched}, {len(report.kept)} kept"


if __name__ == "__main__":
    run_command(main)
