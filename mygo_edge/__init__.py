"""mygo_edge: lifelong learning in wake-sleep cycles, and what a device needs to run the result.

Public names load on first use, so `import mygo_edge` on a device needs neither torch nor onnx.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# In a source checkout `kernels/` and `export/` stand beside this folder; an installed wheel has them inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "kernels").is_dir():
    __path__.append(str(_checkout))

_PUBLIC = {
    "Discriminator": "mygo_edge.model.gan",
    "EdgeModel": "mygo_edge.device.edge_model",
    "Learner": "mygo_edge.learner",
    "GenerativeMemory": "mygo_edge.model.memory",
    "Generator": "mygo_edge.model.gan",
    "MygoEdgeError": "mygo_edge.errors",
    "NeocortexNet": "mygo_edge.model.network",
    "TrainOptions": "mygo_edge.options",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
