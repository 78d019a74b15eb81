"""What is deployed is what systemd takes, and calls commands that there are."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
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


INSTRUCTIONS = {"FROM", "COPY", "RUN", "USER", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD"}
IMAGES = pytest.mark.parametrize("name", ["Dockerfile.box", "Dockerfile.device"])


def instructions(name: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile and what stands after them, continued lines joined."""
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


@IMAGES
def test_an_image_copies_what_there_is_from_stages_that_there_are(name: str) -> None:
    """No daemon is needed to see that; the images themselves are built by no test."""
    stages: list[str] = []
    for word, rest in instructions(name):
        assert word in INSTRUCTIONS
        if word == "FROM":
            image, *named = rest.split(" AS ")
            assert re.fullmatch(r"python:3\.1[12]-slim", image)  # a version, not `latest`
            stages += named
        if word == "COPY":
            flag, *places = rest.split() if rest.startswith("--from=") else ("", *rest.split())
            assert len(places) == 2
            assert flag.removeprefix("--from=") in stages if flag else (DEPLOY.parent / places[0]).exists()
        if word in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(argument, str) for argument in json.loads(rest))  # no shell
        if word == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True)


@IMAGES
def test_an_image_installs_extras_that_there_are_and_runs_as_nobody_special(name: str) -> None:
    text = (DEPLOY / name).read_text()
    extras = re.search(r"\.whl\)\[([a-z,]+)\]", text)
    assert extras
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    order = [word for word, _ in instructions(name)]
    assert order.index("USER") < order.index("WORKDIR") < order.index("ENTRYPOINT")
    modules = re.findall(r"-m\"?,? ?\"?(mygo_edge\.\w+)", text)
    assert len(modules) >= 2
    assert all(importlib.util.find_spec(module) for module in modules)


def test_no_image_holds_history_environments_or_runs() -> None:
    ignored = (DEPLOY.parent / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs"} <= set(ignored)
