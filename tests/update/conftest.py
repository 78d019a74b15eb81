"""What a box publishes and what a device has, for the tests of updates."""

import shutil
from pathlib import Path

import pytest

from tests.bundles import publish_tiny


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the box publishes: v0002 and v0003. Not to be changed."""
    folder = tmp_path_factory.mktemp("published")
    publish_tiny(folder, 2)
    publish_tiny(folder, 3)
    return folder


@pytest.fixture
def box(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(published, tmp_path / "box"))


@pytest.fixture(scope="session")
def installed(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a device has: v0002 and the one before it. Not to be changed."""
    folder = tmp_path_factory.mktemp("installed")
    publish_tiny(folder, 1)
    shutil.copytree(published / "v0002", folder / "v0002")
    (folder / "current").write_text("v0002\n")
    return folder


@pytest.fixture
def device(installed: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(installed, tmp_path / "device"))


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback is reached without a proxy, whatever the environment says."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
