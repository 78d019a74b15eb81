"""A finished run on a disk that cannot be written to is still worth something."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.commands import run


@pytest.fixture
def read_only(whole_run, tmp_path: Path) -> Iterator[Path]:
    """The run, mounted so that nobody can write to it."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    bind = [["mount", "--bind", whole_run[0], folder], ["mount", "-o", "remount,bind,ro", folder]]
    if os.geteuid() or any(subprocess.run(command, check=False).returncode for command in bind):
        subprocess.run(["umount", folder], check=False, stderr=subprocess.DEVNULL)
        pytest.skip("no right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_it_is_exported_to_another_place(read_only: Path, tmp_path: Path) -> None:
    done = run(read_only, "--to", tmp_path / "bundle", module="export")
    assert done.returncode == 0, done.stderr
    version = (tmp_path / "bundle" / "current").read_text().strip()
    assert done.stdout == f"{tmp_path}/bundle/{version}\n"


def test_in_its_own_place_the_disk_is_named_in_one_line(read_only: Path) -> None:
    done = run(read_only, "--precision", "fp16", module="export")
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr.splitlines()[-1]


def test_going_on_with_it_is_refused_in_one_line(read_only: Path) -> None:
    done = run("--resume", read_only)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Read-only file system" in done.stderr
