"""Tests run in several processes (pytest-xdist), so none of them should start threads for every core.

A real bundle of two tasks, published once, and a copy of it for tests that damage it.
"""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch or onnxruntime is first imported; children inherit it
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported, which any test may do

if TYPE_CHECKING:
    from mygo_edge.device.edge_model import EdgeModel


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions, v0002 live. Not to be changed."""
    from tests.bundles import publish_tiny

    folder = tmp_path_factory.mktemp("bundle")
    publish_tiny(folder, 1)
    publish_tiny(folder, 2)
    return folder


@pytest.fixture(scope="session")
def model(bundle: Path) -> "EdgeModel":
    from mygo_edge.device.edge_model import EdgeModel

    return EdgeModel.load(bundle)


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))
