import pytest

from tests.run.commands import TINY, run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run(*TINY, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout
