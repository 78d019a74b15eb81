"""Run on a device's environment: torch is absent, and the bundle of the tests classifies and dreams."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import mygo_edge
from mygo_edge import EdgeModel

present = [
    name for name in ("torch", "torchvision", "onnx", "triton", "sklearn", "PIL", "cryptography") if find_spec(name)
]
assert not present, f"a device has no {present}"
assert "site-packages" in mygo_edge.__file__, mygo_edge.__file__

bundle = Path(sys.argv[1])
model = EdgeModel.load(bundle)
names = list(model.tasks)
for name in names:
    dreams = model.dream(name, n=32, seed=1)
    asked = [model.tasks[name][label] for label in dreams.class_ids]
    answers = model.predict(dreams.images, name)
    agreement = np.mean([a == b for a, b in zip(asked, answers, strict=True)])
    print(f"{name}: {len(asked)} dreams, {agreement:.0%} recognised as the asked-for class")
    assert agreement > 0.7

np.save("images.npy", model.dream(names[0], n=4, seed=2).images)
for command in (
    ["mygo_edge.predict", bundle, "images.npy", "--json"],
    ["mygo_edge.dream", bundle, "--task", names[0], "-n", "4", "--to", "dreams.npy"],
):
    subprocess.run([sys.executable, "-m", *map(str, command)], check=True)
assert np.load("dreams.npy").shape == (4, *model.input_shape)

# A device fetches the bundle, learns a task of its own, and goes on working after an update to the same version.
for command in (
    ["mygo_edge.update", bundle, "fetched"],
    ["mygo_edge.update", bundle, "fetched"],
    ["mygo_edge.selftest", "fetched", "--latency"],
):
    subprocess.run([sys.executable, "-m", *map(str, command)], check=True)
fetched = EdgeModel.load("fetched")
images = np.concatenate([np.full((5, *model.input_shape), value, np.uint8) for value in (10, 240)])
fetched.learn_head("brightness", images, ["dark"] * 5 + ["bright"] * 5)
assert EdgeModel.load("fetched").predict(images, "brightness") == ["dark"] * 5 + ["bright"] * 5
