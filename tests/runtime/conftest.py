"""A real bundle of two tasks: published once, and a copy of it for tests that damage it."""

import shutil
from pathlib import Path

import pytest

from mygo_edge.runtime.edge_model import EdgeModel
from tests.bundles import publish_tiny


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions, v0002 live. Not to be changed."""
    folder = tmp_path_factory.mktemp("bundle")
    publish_tiny(folder, 1)
    publish_tiny(folder, 2)
    return folder


@pytest.fixture(scope="session")
def model(bundle: Path) -> EdgeModel:
    return EdgeModel.load(bundle)


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))
