"""The site and its server, without a browser."""

import io
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mygo_edge.bundle.manifest import MAX_PARTS
from mygo_edge.errors import MygoEdgeError
from mygo_edge.web import runtime as runtime_module
from mygo_edge.web.runtime import FILES, extract, fetch, read_runtime
from mygo_edge.web.server import POLICY, server
from mygo_edge.web.site import STATIC, site_files, write_site
from tests.features import publish_photos
from tests.web.conftest import served


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mygo_edge.web", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_the_runtime_the_command_says_how_to_get_it(bundle: Path, tmp_path: Path) -> None:
    done = run(bundle, "--to", tmp_path / "site", "--runtime", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "ort.wasm.bundle.min.mjs is missing" in done.stderr
    assert "python -m mygo_edge.web.runtime" in done.stderr
    assert not (tmp_path / "site").exists()


def test_a_runtime_of_other_bytes_is_refused(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(MygoEdgeError, match="is not the file of onnxruntime-web"):
        read_runtime(tmp_path)


def test_an_archive_of_another_hash_is_not_opened(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        for name in FILES:
            archive.addfile(tarfile.TarInfo(f"package/dist/{name}"), io.BytesIO())
    with pytest.raises(MygoEdgeError, match="not the pinned one; it is not used"):
        extract(tmp_path / "other.tgz")


def test_without_npm_fetching_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module.shutil, "which", lambda name: None)
    with pytest.raises(MygoEdgeError, match="npm is not installed"):
        fetch(tmp_path)


def test_the_site_is_static_and_written_over_an_earlier_one_only(bundle: Path, runtime: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for _ in range(2):
        done = run(bundle, "--to", site, "--runtime", runtime)
        assert (done.returncode, done.stderr) == (0, "")
    written = {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert written == site_files(bundle, runtime)
    assert written["bundle/current"] == (bundle / "current").read_bytes()
    assert {name for name in written if name.startswith("bundle/v0002/")} == {
        f"bundle/v0002/{path.name}" for path in (bundle / "v0002").iterdir()
    }
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(MygoEdgeError, match="holds no site of ours"):
        write_site(tmp_path / "other", written)


def test_a_damaged_bundle_is_not_served(own_bundle: Path, runtime: Path) -> None:
    (own_bundle / "v0002" / "classifier.onnx").write_bytes(b"")
    done = run(own_bundle, "--port", "0", "--runtime", runtime)
    assert done.returncode == 2
    assert "classifier.onnx has 0 bytes" in done.stderr


def test_the_files_of_a_trunk_are_on_the_site(tmp_path: Path, runtime: Path) -> None:
    version = publish_photos(tmp_path / "photos")
    files = site_files(tmp_path / "photos", runtime)
    assert files[f"bundle/{version.name}/trunk.onnx"] == (version / "trunk.onnx").read_bytes()


def test_the_server_answers_with_its_own_files_alone() -> None:
    with served(server({"index.html": b"here", "a.wasm": b"\0asm"}, "127.0.0.1", 0)) as address:
        with urllib.request.urlopen(address) as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (b"here", "text/html; charset=utf-8")
            assert answer.headers["Content-Security-Policy"] == POLICY
        with urllib.request.urlopen(f"{address}a.wasm") as answer:
            assert answer.headers["Content-Type"] == "application/wasm"
        for path in ("../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "index.htm"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(address + path)


def test_the_page_says_the_policy_of_the_server_of_itself() -> None:
    own = POLICY.removesuffix("; frame-ancestors 'none'")  # which a page cannot say of itself
    assert f'http-equiv="Content-Security-Policy" content="{own}"' in (STATIC / "index.html").read_text()


def test_no_script_makes_html_or_code_of_text() -> None:
    for path in (STATIC / "js").glob("*.js"):
        text = path.read_text()
        assert len(text.splitlines()) <= 300
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "new Function", "document.write"):
            assert word not in text, (path.name, word)


def test_a_page_takes_texts_of_as_many_parts_as_a_device_does() -> None:
    assert f"MAX_PARTS = {MAX_PARTS}," in (STATIC / "js" / "manifest.js").read_text()
