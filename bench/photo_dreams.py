"""What dreams of features look like beside real test features: docs/images/photos-dreams.png

    OMP_NUM_THREADS=1 python -m bench.photo_dreams NAME=FOLDER[,PER_CLASS]

The plane is that of the two leading principal components of the real test features that are shown.
"""

import argparse
from pathlib import Path

import numpy as np

from bench.photos import features, parsed
from mygo_edge.bundle.gaussian import PowerTransform, dreams
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.measure.feature_plots import beside

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "photos-dreams.png"
SHOWN, EACH = 6, 100  # classes, and points of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="NAME=FOLDER[,PER_CLASS]")
    _, folder, per_class = parsed(parser.parse_args().set)
    (x, y, test_x, test_y), _ = features(folder, per_class, "efficientnet-lite0", None)
    memory = GaussianMemory(PowerTransform.of(x), x.shape[1])
    classes = int(y.max()) + 1
    memory.learn(x, y, [str(label) for label in range(classes)])
    shared = memory.refactor(memory.covariance())
    real = memory.transform(test_x)
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(classes), EACH)
    z, noise = (rng.standard_normal((len(ids), width), np.float32) for width in (shared.rank, x.shape[1]))
    dreamt = dreams(memory.means, shared, z, noise, ids)
    shown = range(min(classes, SHOWN))
    parts = (
        [vectors[labels == label][:EACH] for label in shown] for vectors, labels in ((real, test_y), (dreamt, ids))
    )
    figure = beside([f"class {label}" for label in shown], *parts)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
