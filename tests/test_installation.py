"""Three ways to run: an editable install, an installed wheel, and a clone on a machine that has a wheel too."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

CLONE = Path(__file__).parent.parent
REPORT = """
import mygo_edge, mygo_edge.kernels.philox as kernel, mygo_edge.export as export
print(mygo_edge.__file__, kernel.__file__, export.__file__, sep="\\n")
"""


def places(python: Path, folder: Path) -> list[Path]:
    """Where `mygo_edge`, its kernels and its export come from, for a Python started in `folder`."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    answer = subprocess.run(
        [python, "-c", REPORT], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return [Path(line) for line in answer.stdout.split()]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The project's files, without what a build or a run leaves among them."""
    folder = tmp_path_factory.mktemp("clone") / "clone"
    ignored = shutil.ignore_patterns(".git", ".*_cache", "__pycache__", "build", "*.egg-info", "runs", "tests")
    shutil.copytree(CLONE, folder, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def environments(source, tmp_path_factory):
    """Pythons with a wheel and with an editable install; other packages come from the tests' own environment."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    pythons = {}
    for kind, option in (("wheel", []), ("editable", ["-e"])):
        folder = tmp_path_factory.mktemp(kind)
        venv.create(folder, with_pip=False)
        target = next((folder / "lib").glob("python*")) / "site-packages"
        pip = [sys.executable, "-m", "pip", "-q", "--python", str(folder / "bin" / "python"), "install", "--no-deps"]
        built = subprocess.run([*pip, *option, str(source)], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        (target / "others.pth").write_text(f"import sys; sys.path.append({site!r})\n")
        pythons[kind] = folder / "bin" / "python"
    return pythons


def test_an_editable_install_uses_the_clone(environments, source, tmp_path):
    package, kernel, export = places(environments["editable"], tmp_path)
    assert package == source / "mygo_edge" / "__init__.py"
    assert (kernel, export) == (source / "kernels" / "philox.py", source / "export" / "__init__.py")


def test_an_installed_wheel_is_complete(environments, tmp_path):
    found = places(environments["wheel"], tmp_path)
    assert all("site-packages" in path.parts for path in found)
    assert found[1].parts[-3:] == ("mygo_edge", "kernels", "philox.py")
    help_text = subprocess.run(
        [environments["wheel"], "-m", "mygo_edge.train", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert help_text.returncode == 0, help_text.stderr


def test_a_clone_comes_before_an_installed_wheel(environments, source):
    package, kernel, export = places(environments["wheel"], source)
    assert package == source / "mygo_edge" / "__init__.py"
    assert (kernel, export) == (source / "kernels" / "philox.py", source / "export" / "__init__.py")


def test_importing_mygo_edge_imports_neither_torch_nor_onnx():
    code = "import mygo_edge, sys; mygo_edge.EdgeModel; print({'torch', 'onnx', 'PIL'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_public_names_load_on_first_use():
    import mygo_edge

    for name in mygo_edge.__all__:
        assert getattr(mygo_edge, name) is not None
    with pytest.raises(AttributeError):
        mygo_edge.nothing  # noqa: B018
