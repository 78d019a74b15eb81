"""What a measurement found, as JSON: printed, and in a file where one is asked for."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_option(parser: argparse.ArgumentParser) -> None:
    """--to FILE."""
    parser.add_argument("--to", type=Path, help="write the result to this file, too")


def write(result: Mapping[str, Any], to: Path | None) -> None:
    """Print a result, and write it to a file, if there is one."""
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    if to:
        to.write_text(text)
    print(text, end="")
