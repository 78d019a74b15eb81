"""python -m mygo_edge.update: bring a device's bundle to what was published, or back to the version before."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mygo_edge.bundle.reading import HANDOVERS, HEADS, current_version, read_manifest, version_folder
from mygo_edge.bundle.signature import PublicKey
from mygo_edge.command import OneLineParser
from mygo_edge.errors import EXIT_BAD_INPUT, MygoEdgeError, escaped, run_command, warn
from mygo_edge.files import remove, write_text
from mygo_edge.update.install import locked, roll_back
from mygo_edge.update.source import Limits
from mygo_edge.update.trust import changes, read_trust, write_trust
from mygo_edge.update.updater import Report, UpdatePolicy, update


def main(arguments: Sequence[str] | None = None) -> None:
    """Update or roll back, and print what was done. Raises MygoEdgeError for what a user can put right."""
    options = _parser().parse_args(arguments)
    try:
        document = _run(options)
    except (MygoEdgeError, OSError) as error:
        if options.json:
            print(json.dumps({"status": "failed", "bundle": str(options.places[-1]), "error": str(error)}))
            raise SystemExit(EXIT_BAD_INPUT) from error
        raise
    if options.json:
        print(json.dumps(document))


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """Do it, and say so, unless --json was given. Returns what --json prints."""
    say = (lambda line: None) if options.json else lambda line: print(escaped(line))
    bundle = Path(options.places[-1])
    document: dict[str, Any] = {"status": "current", "bundle": str(bundle)}
    if options.forget_key or options.save_key:
        _keep_key(bundle, options, say)
    if options.rollback:
        _require_places(options, 1, "BUNDLE --rollback")
        left, live = roll_back(bundle, options.public_key)
        say(f"{bundle}: back from {left} to {live}; {left} is not installed again by itself")
        return document | {"status": "rolled back", "before": left, "version": live}
    if len(options.places) == 1 and (options.forget_key or options.save_key):
        return document
    _require_places(options, 2, "SOURCE BUNDLE")
    limits = Limits(options.timeout, options.min_rate, options.deadline, options.max_bytes, options.attempts)
    policy = UpdatePolicy(
        options.public_key,
        options.allow_downgrade,
        options.allow_rolled_back,
        options.allow_other_learner,
        options.allow_other_host,
    )
    report = update(options.places[0], bundle, policy, limits)
    report.warnings += _stale_heads(bundle)
    say(_summary(bundle, report))
    for note in report.notes:
        say(note)
    signed = (
        f"made by the owner of key {report.signed_by[:32]}" if report.signed_by else "not checked, no key was given"
    )
    say(f"signature: {signed}")
    if not options.json:
        for reason in report.warnings:
            warn(reason)
    return document | {"status": "updated" if report.changed else "current"} | asdict(report)


def _require_places(options: argparse.Namespace, count: int, usage: str) -> None:
    if len(options.places) != count:
        raise MygoEdgeError(f"give {count} of SOURCE and BUNDLE here: python -m mygo_edge.update {usage}")


def _keep_key(bundle: Path, options: argparse.Namespace, say: Any) -> None:
    """--forget-key and --save-key."""
    if not bundle.is_dir():
        raise MygoEdgeError(f"{bundle} is no folder")
    with locked(bundle):
        trust = read_trust(bundle)
        if options.save_key and trust.key is None:
            raise MygoEdgeError(f"{bundle} has no pinned key; it comes with the first update with --public-key")
        if options.save_key:
            write_text(options.save_key, PublicKey(bytes.fromhex(trust.key or ""), "").pem)
            say(f"{options.save_key}: the key that is pinned")
        if options.forget_key:
            write_trust(bundle, trust.forgetting_key())
            remove(bundle / HANDOVERS)
            for line in changes(trust, trust.forgetting_key()):
                say(line)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m mygo_edge.update",
        description="Fetch what is new in a published bundle, check and self-test it, and make it live at once. "
        "Whatever goes wrong, the version that was live stays live.",
    )
    defaults = Limits()
    parser.add_argument("places", nargs="+", metavar="SOURCE BUNDLE", help="a folder or http(s) address that holds "
                        "`current`, and the device's bundle (made when it is not there)")  # fmt: skip
    parser.add_argument("--public-key", type=Path, help="refuse a version that the owner of this key did not sign; the "
                        "key is pinned, so that later updates ask for it by themselves")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object that says what happened")
    parser.add_argument("--rollback", action="store_true", help="go back to the version before; give BUNDLE alone")
    parser.add_argument("--forget-key", action="store_true", help="unpin the publisher's key, with BUNDLE alone or "
                        "before an update")  # fmt: skip
    parser.add_argument("--save-key", type=Path, metavar="FILE", help="write the pinned key, as PEM")
    for name, words in (
        ("downgrade", "an older version than the newest that was ever live here"),
        ("rolled-back", "a version that was rolled back here"),
        ("other-learner", "what another learner published"),
    ):
        parser.add_argument(f"--allow-{name}", action="store_true", help=f"take {words}")
    parser.add_argument("--allow-other-host", action="store_true", help="follow redirections to another host")
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
    from mygo_edge.bundle.heads import read_heads, read_kept  # imports numpy, which nothing else here needs
    from mygo_edge.bundle.memories import read_memory

    manifest = read_manifest(version_folder(bundle, current_version(bundle)))
    if manifest.trunk is None:
        return list(read_heads(bundle / HEADS, manifest, None)[1].values())
    return list(read_kept(bundle / HEADS, manifest, read_memory)[1].values())


def _summary(bundle: Path, report: Report) -> str:
    if not report.changed:
        return f"{bundle}: {report.version} is live and whole, and is what the source has"
    fetched = f"{len(report.fetched)} files fetched ({sum(report.fetched.values())} bytes)"
    return f"{bundle}: {report.before or 'nothing'} -> {report.version}, {fetched}, {len(report.kept)} kept"


if __name__ == "__main__":
    run_command(main)
