"""What is deployed is what systemd takes, and calls commands that there are."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mygo_edge.update.__main__ import _parser

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def directive(name: str) -> str:
    """The value of a directive of the service."""
    found = re.search(rf"^{name}=(.*)$", (DEPLOY / "mygo_edge-update.service").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_service_calls_the_update_with_options_that_it_has() -> None:
    command = shlex.split(directive("ExecStart").replace("${SOURCE}", "https://host/path"))
    assert command[:3] == ["/opt/mygo_edge/bin/python", "-m", "mygo_edge.update"]
    options = _parser().parse_args(command[3:])
    assert options.json
    assert options.places == ["https://host/path", "/var/lib/mygo_edge/bundle"]
    assert str(options.public_key).startswith("/etc/mygo_edge/")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_service_and_timer(tmp_path: Path) -> None:
    """With programs and files that this machine has in place of the device's."""
    (tmp_path / "update.conf").write_text("SOURCE=https://host/path\n")
    for path in DEPLOY.glob("mygo_edge-update.*"):
        text = path.read_text().replace("/opt/mygo_edge/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text.replace("/etc/mygo_edge", str(tmp_path)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.glob("*.service")), *map(str, tmp_path.glob("*.timer"))],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "mygo_edge" in line]
    assert (done.returncode, said) == (0, []), done.stderr


@pytest.mark.parametrize("name", ["Dockerfile.box", "Dockerfile.device"])
def test_an_image_installs_extras_that_there_are_and_runs_as_nobody_special(name: str) -> None:
    text = (DEPLOY / name).read_text()
    extras = re.search(r"\.whl\)\[([a-z,]+)\]", text)
    assert extras
    project = (DEPLOY.parent / "pyproject.toml").read_text()
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    assert text.index("USER mygo_edge") < text.index("ENTRYPOINT")
