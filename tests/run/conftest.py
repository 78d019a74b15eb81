import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tests.run.commands import TINY, run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run(*TINY, "--out", folder)
    assert done.returncode == 0, done.stderr
    if (kept := os.environ.get("MYGO_EDGE_TEST_BUNDLE")) is not None:  # .ci/run tries it on a device's environment
        copy = shutil.copytree(folder / "bundle", f"{kept}.{os.getpid()}")
        with suppress(OSError):  # another process of the tests was first
            Path(copy).rename(kept)
    return folder, done.stdout
