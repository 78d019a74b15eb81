"""Nothing that a version brings becomes code in the process that tests it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.files import sha256
from mygo_edge.update.install import selftest_apart
from mygo_edge.update.updater import update
from tests.bundles import edit_manifest

MODULES = ["sitecustomize.py", "usercustomize.py", "json.py", "numpy.py", "mygo_edge.py"]


def code(mark: Path) -> bytes:
    return f"import pathlib; pathlib.Path({str(mark)!r}).touch()".encode()


def add_file(version: Path, name: str, data: bytes, role: str) -> None:
    """Add a file to a version, listed with its right hash and size."""
    (version / name).write_bytes(data)
    files = json.loads((version / "manifest.json").read_text())["files"]
    entry = {"path": name, "role": role, "sha256": sha256(data), "bytes": len(data), "precision": "fp32"}
    edit_manifest(version, files=[*files, entry])


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("role", ["generators", "selftest"])
def test_a_version_that_brings_a_module_runs_none_of_it(
    box: Path, device: Path, tmp_path: Path, name: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an unknown role it is not even fetched; as a role that is known its name is refused."""
    add_file(box / "v0003", name, code(tmp_path / "ran"), role)
    monkeypatch.setenv("PYTHONPATH", ".")
    if role == "selftest":
        with pytest.raises(BundleError, match=r"of a selftest must match selftest\\.npz"):
            update(str(box), device)
    else:
        assert update(str(box), device).version == "v0003"
        assert not (device / "v0003" / name).exists()
        assert EdgeModel.load(device).version == "v0003"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", MODULES)
def test_the_self_test_imports_nothing_from_the_version_even_where_it_lies_there(
    device: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is refused, and before that not one line of the module runs."""
    (device / "v0002" / name).write_bytes(code(tmp_path / "ran"))
    monkeypatch.setenv("PYTHONPATH", f".:{device / 'v0002'}")
    monkeypatch.setattr(sys, "path", [str(device / "v0002"), str(device), ".", "", *sys.path])
    monkeypatch.chdir(device / "v0002")
    with pytest.raises(BundleError, match="which is not in the manifest"):
        selftest_apart(device / "v0002")
    assert not (tmp_path / "ran").exists()


def test_the_self_tests_process_gets_a_small_environment_and_no_standing(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from within: a package in front of ours writes down what it finds."""
    package = tmp_path / "front" / "onnxruntime.py"
    package.parent.mkdir()
    package.write_text(
        "import json, os, sys, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'seen')!r}).write_text(json.dumps("
        "[dict(os.environ), os.getcwd(), sys.flags.isolated]))\nraise ImportError('seen')"
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("SECRET", "token")
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    with pytest.raises(BundleError, match="fails its self-test"):
        selftest_apart(device / "v0002")
    environment, folder, isolated = json.loads((tmp_path / "seen").read_text())
    assert (folder, isolated) == ("/", 1)
    assert not {"SECRET", "PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD"} & environment.keys()


def test_the_command_does_the_same(box: Path, device: Path, tmp_path: Path) -> None:
    add_file(box / "v0003", "sitecustomize.py", code(tmp_path / "ran"), "generators")
    done = subprocess.run(
        [sys.executable, "-m", "mygo_edge.update", str(box), str(device)],
        env={**os.environ, "PYTHONPATH": f".:{Path.cwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "ran").exists()
