"""Lay Debian's Fashion-MNIST out as torchvision reads it.

    apt-get install dataset-fashion-mnist && python bench/fashion_mnist.py --to DIR

Then `python -m mygo_edge.train --dataset fashion-mnist --data-root DIR`.
"""

import argparse
import gzip
from pathlib import Path

PACKAGE = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts its files
FILES = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="the data root")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="folder of the four .gz files")
    options = parser.parse_args()
    if missing := [name for name in FILES if not (options.package / f"{name}.gz").is_file()]:
        parser.error(f"{options.package / missing[0]}.gz is not there: apt-get install dataset-fashion-mnist")
    raw = options.to / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (raw / name).write_bytes(gzip.decompress((options.package / f"{name}.gz").read_bytes()))
    print(f"{raw}: {len(FILES)} files")


if __name__ == "__main__":
    main()
