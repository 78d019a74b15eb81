"""What a device computes from a bundle, and the memory that it takes, as JSON: run on two machines and compared.

`python bench/device_probe.py BUNDLE compute | int8 | predict | learn`. Needs what a device has: numpy, onnxruntime,
mygo_edge.
"""

import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.device.noise import dream_noise
from mygo_edge.resident import peak_bytes

_IMAGES = 200


def computed(model: EdgeModel) -> dict[str, Any]:
    """Noise, dreams, logits, answers and the self-test; arrays as lists."""
    z, class_ids = dream_noise(np.arange(1000), 10, 64, seed=2026, stream=3, step=4)
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, *model.input_shape), dtype=np.uint8)
    dreams = {name: model.dream(name, n=32, seed=7) for name in model.tasks}
    shown = np.concatenate([images, *(dream.images for dream in dreams.values())])
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "noise_sha256": hashlib.sha256(z.tobytes() + class_ids.tobytes()).hexdigest(),
        "dreams": {name: dream.images.ravel().tolist() for name, dream in dreams.items()},
        "classes": {name: dream.class_ids.tolist() for name, dream in dreams.items()},
        "logits": model.logits(shown).tolist(),
        "answers": model.answers(shown),
        "selftest": model.run_selftest(),
    }


def memory(what: str, bundle: Path) -> dict[str, int | None]:
    """Peak of resident memory in bytes after importing onnxruntime, and after doing what is asked."""
    imported = peak_bytes()
    model = EdgeModel.load(bundle, heads=bundle.parent / "no-heads")
    images = np.random.default_rng(0).integers(0, 256, (256, *model.input_shape), dtype=np.uint8)
    if what == "learn":
        model.learn_head("new", images[:40], ["a", "b"] * 20, store=False)
    else:
        model.predict(images)
    return {"imported": imported, "peak": peak_bytes()}


if __name__ == "__main__":
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    if mode in ("compute", "int8"):
        precision = "int8" if mode == "int8" else None
        print(json.dumps(computed(EdgeModel.load(folder, precision=precision, heads=folder.parent / "no-heads"))))
    else:
        print(json.dumps(memory(mode, folder)))
