import os
import shutil

import pytest

from tests.run.commands import TINY, run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run(*TINY, "--out", folder)
    assert done.returncode == 0, done.stderr
    if (kept := os.environ.get("MYGO_EDGE_TEST_BUNDLE")) is not None:  # .ci/run tries it on a device's environment
        shutil.copytree(folder / "bundle", kept, dirs_exist_ok=True)
    return folder, done.stdout
