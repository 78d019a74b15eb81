"""Updating a device's bundle: only what is new comes, whatever goes wrong leaves the live version, and back again."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.signature import new_key
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.graphs import classifier_graph
from mygo_edge.files import sha256
from mygo_edge.sign import sign_version
from mygo_edge.update.install import State, locked, read_state, roll_back, version_before
from mygo_edge.update.source import Limits
from mygo_edge.update.updater import UpdatePolicy, update
from tests.bundles import TASKS, publish_tiny, replace_file, tiny_net
from tests.update import servers
from tests.update.servers import Handler, serving

SOAK = "MYGO_EDGE_SOAK" in os.environ
QUICK = Limits(timeout=0.3, min_rate=10_000, deadline=10, attempts=2, pause=0.05)


def visible(folder: Path) -> list[str]:
    """Names in a folder that do not start with a dot."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stays(device: Path) -> None:
    """v0002 is live and whole, and the one before is there."""
    assert EdgeModel.load(device).version == "v0002"
    assert EdgeModel.load(device, version="v0001").version == "v0001"
    assert not [
        name for name in visible(device) if name not in ("current", "trust.json", "update.json", "v0001", "v0002")
    ]


def test_an_update_brings_one_classifier_and_one_generator(box: Path, device: Path) -> None:
    with serving(box) as server:
        report = update(server.address, device)
    assert (report.before, report.version) == ("v0002", "v0003")
    assert server.bodies() == ["classifier.onnx", "generator-sign.onnx", "selftest.npz"]
    assert report.fetched == {name: (box / "v0003" / name).stat().st_size for name in server.bodies()}
    assert report.kept == ["generator-parity.onnx", "generator-size.onnx"]
    assert contents(device / "v0003") == contents(box / "v0003")
    assert visible(device) == ["current", "trust.json", "update.json", "v0002", "v0003"]
    assert {path.name for path in device.iterdir() if path.name.startswith(".")} == {".update.lock"}
    assert EdgeModel.load(device).version == "v0003"


def test_a_device_without_a_bundle_gets_all_of_it_from_a_folder_too(box: Path, tmp_path: Path) -> None:
    report = update(str(box), tmp_path / "new" / "device")
    assert (report.before, report.version, report.kept) == (None, "v0003", [])
    assert contents(tmp_path / "new" / "device" / "v0003") == contents(box / "v0003")


def test_what_is_live_already_is_not_fetched_again(box: Path, device: Path) -> None:
    update(str(box), device)
    before = (device / "v0003" / "manifest.json").stat()
    with serving(box) as server:
        report = update(server.address, device)
    assert not report.changed
    assert server.bodies() == []
    assert (device / "v0003" / "manifest.json").stat() == before


def test_a_damaged_live_version_is_mended(box: Path, device: Path) -> None:
    update(str(box), device)
    damaged = device / "v0003" / "generator-sign.onnx"
    damaged.unlink()
    damaged.write_bytes(b"x" * 100)
    with serving(box) as server:
        report = update(server.address, device)
    assert server.bodies() == ["generator-sign.onnx"]
    assert report.version == "v0003.1"
    assert EdgeModel.load(device).version == "v0003.1"


def test_an_interrupted_file_goes_on_where_it_stopped(box: Path, device: Path) -> None:
    with serving(box, servers.hangs_up_in_the_middle) as server, pytest.raises(MygoEdgeError, match="whole"):
        update(server.address, device, limits=QUICK)
    stays(device)
    (part,) = (device / ".download").iterdir()
    held = part.stat().st_size
    assert 0 < held < (box / "v0003" / "classifier.onnx").stat().st_size
    with serving(box) as server:
        report = update(server.address, device)
    assert ("/v0003/classifier.onnx", f"bytes={held}-") in server.requests
    assert report.fetched["classifier.onnx"] == (box / "v0003" / "classifier.onnx").stat().st_size - held
    assert contents(device / "v0003") == contents(box / "v0003")


def test_a_wrong_beginning_left_by_an_earlier_attempt_is_thrown_away(box: Path, device: Path) -> None:
    digest = sha256((box / "v0003" / "classifier.onnx").read_bytes())
    (device / ".download").mkdir()
    (device / ".download" / digest).write_bytes(b"poison" * 100)
    (device / ".download" / "of-another-version").write_bytes(b"")
    with serving(box) as server:
        update(server.address, device)
    assert [held for path, held in server.requests if "classifier" in path] == ["bytes=600-", None]
    assert contents(device / "v0003") == contents(box / "v0003")


def test_a_server_without_ranges_is_asked_for_the_whole(box: Path, device: Path) -> None:
    digest = sha256((box / "v0003" / "classifier.onnx").read_bytes())
    (device / ".download").mkdir()
    (device / ".download" / digest).write_bytes((box / "v0003" / "classifier.onnx").read_bytes()[:1000])

    def whole(handler: Handler, data: bytes) -> None:
        handler.head(Content_Length=len(data))
        handler.wfile.write(data)

    with serving(box, whole) as server:
        update(server.address, device)
    assert contents(device / "v0003") == contents(box / "v0003")


@pytest.mark.parametrize(
    ("misbehave", "victim", "words"),
    [
        (servers.wrong_bytes, "classifier.onnx", "classifier.onnx does not have the hash in its manifest"),
        (servers.too_long_a_length, "classifier.onnx", "bytes at the server, its manifest says"),
        (servers.too_short_a_length, "classifier.onnx", "bytes at the server, its manifest says"),
        (servers.endless, "classifier.onnx", "classifier.onnx has more than the"),
        (servers.endless_chunks, "classifier.onnx", "classifier.onnx has more than the"),
        (servers.endless, "manifest.json", "manifest.json has more than 4194304 bytes"),
        (servers.endless, "current", "current has more than 64 bytes"),
        (servers.compressed, "classifier.onnx", "is sent as 'gzip'"),
        (servers.silent, "classifier.onnx", "the server is too slow"),
        (servers.slow_header, "classifier.onnx", "the server is too slow"),
        (servers.slow_content, "classifier.onnx", "the server is too slow"),
        (servers.slow_chunk_size, "classifier.onnx", "the server is too slow"),
        (servers.stops_in_the_middle, "classifier.onnx", "the server is too slow"),
        (servers.slow_content, "current", "the server is too slow"),
        (servers.another_range, "classifier.onnx", "another range than the one asked for"),
        (servers.redirects_for_ever, "classifier.onnx", "redirected more than 5 times"),
        (servers.redirects_to_a_file, "classifier.onnx", "redirects to 'file:///etc/passwd', which is not followed"),
        (servers.redirects_with_an_endless_page, "classifier.onnx", "the source has no v0003/classifier.onnx"),
        (servers.many_headers, "classifier.onnx", "does not come whole"),
        (servers.fails, "classifier.onnx", "status 500"),
        (servers.forbids, "classifier.onnx", "status 403"),
    ],
)
def test_whatever_a_server_does_the_live_version_stays(
    box: Path, device: Path, misbehave: Callable[[Handler, bytes], None], victim: str, words: str
) -> None:
    with serving(box, misbehave, victim) as server, pytest.raises(MygoEdgeError, match=words) as caught:
        update(server.address, device, limits=QUICK)
    assert "\n" not in str(caught.value)
    stays(device)
    held = sum(path.stat().st_size for path in (device / ".download").glob("*"))
    assert held <= sum(path.stat().st_size for path in (box / "v0003").iterdir())


def test_a_good_server_is_none_the_worse_for_the_bad_ones_before(box: Path, device: Path) -> None:
    for misbehave in (servers.wrong_bytes, servers.endless, servers.hangs_up_in_the_middle, servers.another_range):
        # On a busy machine one may leave nothing for the next to spoil, which then serves the whole file.
        with serving(box, misbehave) as server, suppress(MygoEdgeError):
            update(server.address, device, limits=QUICK)
    assert update(str(box), device).version == "v0003"
    assert contents(device / "v0003") == contents(box / "v0003")


def test_https_needs_a_certificate_that_is_trusted(
    box: Path, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = servers.make_certificate(tmp_path / "certificate.pem")
    with serving(box, certificate=certificate) as server:
        with pytest.raises(MygoEdgeError, match="certificate is not trusted"):
            update(server.address, device, limits=QUICK)
        stays(device)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert update(server.address, device).version == "v0003"
        assert len(server.bodies()) == 3


@pytest.mark.parametrize(
    ("misbehave", "words"),
    [
        (servers.redirects_to_http, "redirects to 'http://.*', which is not followed"),
        (servers.slow_content, "the server is too slow"),
        (servers.hangs_up_in_the_middle, "does not come whole"),
    ],
)
def test_a_bad_server_is_no_better_with_tls(
    box: Path,
    device: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    misbehave: Callable[[Handler, bytes], None],
    words: str,
) -> None:
    certificate = servers.make_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        serving(box, misbehave, certificate=certificate) as server,
        pytest.raises(MygoEdgeError, match=words),
    ):
        update(server.address, device, limits=QUICK)
    stays(device)


def test_a_server_that_never_ends_its_handshake_is_left(box: Path, device: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(MygoEdgeError, match="the server is too slow"):
            update(address, device, limits=QUICK)
    stays(device)


def test_the_time_for_everything_together_has_an_end(box: Path, device: Path) -> None:
    with serving(box, servers.slow_content) as server, pytest.raises(MygoEdgeError, match="the whole update is over"):
        update(server.address, device, limits=Limits(timeout=10, min_rate=1, deadline=1, attempts=1))
    stays(device)


def test_no_server_is_one_line(device: Path) -> None:
    with serving(device) as server:
        address = server.address
    with pytest.raises(MygoEdgeError, match=r"the source cannot be read.*refused"):
        update(address, device, limits=QUICK)
    stays(device)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://127.0.0.1/x", "ftp is not supported"),
        ("file:///etc", "file is not supported"),
        ("http://user:secret@127.0.0.1/", "without a user"),
        ("http:///x", "must be"),
        ("nowhere", "nowhere is no folder"),
    ],
)
def test_other_addresses_are_refused(device: Path, address: str, words: str) -> None:
    with pytest.raises(MygoEdgeError, match=words):
        update(address, device)


@pytest.mark.parametrize("content", [b"", b"../v0003", b"v3", b"v0003/../../x", b"\xff" * 10, b"v0004"])
def test_a_source_whose_current_names_no_version_is_refused(box: Path, device: Path, content: bytes) -> None:
    (box / "current").write_bytes(content)
    with pytest.raises(MygoEdgeError, match=r"must name a version|the source has no"):
        update(str(box), device)
    stays(device)


def test_a_version_under_the_name_of_another_is_refused(box: Path, device: Path) -> None:
    (box / "v0003").rename(box / "v0007")
    (box / "current").write_text("v0007")
    with pytest.raises(MygoEdgeError, match="the source mixes versions up"):
        update(str(box), device)


def test_an_older_version_is_refused_unless_asked_for(box: Path, device: Path) -> None:
    update(str(box), device)
    (box / "current").write_text("v0002")
    with pytest.raises(
        MygoEdgeError,
        match=r"v0002, sequence 2, is older than what was live here, sequence 3 .* pass --allow-downgrade",
    ):
        update(str(box), device)
    assert EdgeModel.load(device).version == "v0003"
    report = update(str(box), device, UpdatePolicy(downgrade=True))
    assert (report.before, report.fetched) == ("v0003", {})
    assert EdgeModel.load(device).version.startswith("v0002")
    assert roll_back(device)[1] == "v0003"


def test_an_older_publication_of_the_same_sequence_is_older_too(box: Path, device: Path) -> None:
    manifest = json.loads((box / "v0003" / "manifest.json").read_text())
    publish_tiny(box, 3, seed=1)
    second, later = box / "v0003.1" / "manifest.json", datetime.now(UTC) + timedelta(hours=1)
    second.write_text(json.dumps(json.loads(second.read_text()) | {"created": later.isoformat()}))
    assert update(str(box), device).version == "v0003.1"
    assert datetime.fromisoformat(manifest["created"]) < later
    (box / "current").write_text("v0003")
    with pytest.raises(MygoEdgeError, match="v0003, sequence 3, is older than what was live here"):
        update(str(box), device)


def test_a_version_that_fails_its_selftest_never_becomes_live(box: Path, device: Path) -> None:
    other = classifier_graph(tiny_net(3, seed=1), [name for name, _ in TASKS])
    replace_file(box / "v0003", "classifier.onnx", other)
    with pytest.raises(BundleError, match=r"v0003\.partial fails its self-test: .*classifier.onnx fails"):
        update(str(box), device)
    stays(device)


def test_a_version_that_crashes_or_hangs_onnxruntime_never_becomes_live(
    box: Path, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime is replaced by one that kills its process: no graph of ours crashes the real one."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnxruntime.py").write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    with pytest.raises(BundleError, match="it ended with signal 11"):
        update(str(box), device)
    stays(device)


def test_a_version_too_large_is_refused_before_it_is_fetched(box: Path, device: Path) -> None:
    with serving(box) as server, pytest.raises(MygoEdgeError, match="1000 are allowed; see --max-bytes"):
        update(server.address, device, limits=Limits(total=1000))
    assert server.bodies() == []
    stays(device)


def test_with_a_key_only_what_its_owner_signed_is_installed(box: Path, device: Path, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        new_key(tmp_path / name, tmp_path / f"{name}.pub")
    wish = UpdatePolicy(public_key=tmp_path / "ours.pub")
    with pytest.raises(BundleError, match="is not signed"):
        update(str(box), device, wish)
    sign_version(box / "v0003", tmp_path / "theirs")
    with pytest.raises(BundleError, match="is not what the owner of"):
        update(str(box), device, wish)
    stays(device)
    assert not (device / ".download").exists()  # nothing was fetched for it
    (box / "v0003" / "manifest.sig").unlink()
    sign_version(box / "v0003", tmp_path / "ours")
    with serving(box) as server:
        assert update(server.address, device, wish).version == "v0003"
    assert EdgeModel.load(device, public_key=tmp_path / "ours.pub").version == "v0003"


def test_a_version_that_was_installed_unsigned_is_installed_again_when_it_is_signed(
    box: Path, device: Path, tmp_path: Path
) -> None:
    update(str(box), device)
    new_key(tmp_path / "key", tmp_path / "key.pub")
    sign_version(box / "v0003", tmp_path / "key")
    report = update(str(box), device, UpdatePolicy(public_key=tmp_path / "key.pub"))
    assert report.fetched == {}
    assert EdgeModel.load(device, public_key=tmp_path / "key.pub").version == report.version


def test_rolling_back_goes_to_the_version_before_and_stays_there(box: Path, device: Path) -> None:
    update(str(box), device)
    assert roll_back(device) == ("v0003", "v0002")
    assert EdgeModel.load(device).version == "v0002"
    with pytest.raises(MygoEdgeError, match="v0003 was rolled back here; v0002 stays"):
        update(str(box), device)
    assert EdgeModel.load(device).version == "v0002"
    with pytest.raises(MygoEdgeError, match="holds no version that was live before v0002"):
        roll_back(device)
    assert update(str(box), device, UpdatePolicy(rolled_back=True)).version == "v0003"
    assert roll_back(device) == ("v0003", "v0002")


def test_a_bundle_that_was_copied_can_be_rolled_back_too(published: Path, tmp_path: Path) -> None:
    device = Path(shutil.copytree(published, tmp_path / "device"))
    assert roll_back(device) == ("v0003", "v0002")


def test_the_last_two_versions_stay_whatever_their_names(box: Path, device: Path) -> None:
    for tasks, seed in ((3, 0), (3, 1), (1, 2)):  # the last is a run that started again
        publish_tiny(box, tasks, seed=seed, sequence=tasks)
        update(str(box), device, UpdatePolicy(downgrade=True))
    assert EdgeModel.load(device).version == "v0001"
    assert visible(device) == ["current", "trust.json", "update.json", "v0001", "v0003.1"]
    assert roll_back(device) == ("v0001", "v0003.1")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"history": 5, "rolled_back": []}', b'{"history": [5], "rolled_back": [{}]}']
)
def test_notes_of_updates_that_are_damaged_count_as_none(box: Path, device: Path, content: bytes) -> None:
    (device / "update.json").write_bytes(content)
    assert read_state(device) == State()
    assert version_before(device, "v0002") == "v0001"


def test_a_file_system_without_links_gets_copies(box: Path, device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as FAT answers

    monkeypatch.setattr(os, "link", refuse)
    update(str(box), device)
    assert contents(device / "v0003") == contents(box / "v0003")


def test_a_damaged_version_before_is_not_gone_back_to(box: Path, device: Path) -> None:
    update(str(box), device)
    (device / "v0002" / "selftest.npz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"v0002/selftest\.npz has 0 bytes"):
        roll_back(device)
    assert EdgeModel.load(device).version == "v0003"


def test_a_second_update_at_the_same_time_says_so(box: Path, device: Path) -> None:
    with locked(device), pytest.raises(MygoEdgeError, match=r"another update of .* is running"):
        update(str(box), device)
    with locked(device), pytest.raises(MygoEdgeError, match=r"another update of .* is running"):
        roll_back(device)
    stays(device)


def test_of_many_updates_at_once_one_works(box: Path, device: Path) -> None:
    command = [sys.executable, "-m", "mygo_edge.update", str(box), str(device)]
    running = [subprocess.Popen(command, stdout=-1, stderr=-1, text=True) for _ in range(4)]
    answers = [(*process.communicate(), process.returncode) for process in running]
    assert any("v0002 -> v0003" in out for out, _, _ in answers)
    for out, err, status in answers:
        assert (status == 0 and not err) or (status == 2 and not out and "another update" in err), (out, err)
    assert contents(device / "v0003") == contents(box / "v0003")


def test_a_running_model_is_not_disturbed(box: Path, device: Path) -> None:
    model = EdgeModel.load(device)
    images = np.zeros((1, *model.input_shape), np.uint8)
    before, stop, answers = model.predict(images), threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            answers.append(model.predict(images))

    thread = threading.Thread(target=work)
    thread.start()
    update(str(box), device)
    stop.set()
    thread.join()
    assert answers
    assert all(answer == before for answer in answers)
    assert len(model.dream("size", n=2).images) == 2  # a generator that was not opened yet


def test_the_command_updates_and_rolls_back(box: Path, device: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mygo_edge.update", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with serving(box) as server:
        done = run(server.address + "/", device)
    assert (done.returncode, done.stderr) == (0, "")
    assert "v0002 -> v0003, 3 files fetched" in done.stdout
    assert "not checked, no key was given" in done.stdout
    assert run(device, "--rollback").stdout.startswith(f"{device}: back from v0003 to v0002")
    again = run(box, device)
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1)
    assert run(box).returncode == run(box, device, "--rollback").returncode == 2
    assert "must be above 0" in run(box, device, "--timeout", "0").stderr


@pytest.fixture
def nginx(box: Path, tmp_path: Path) -> Iterator[str]:
    """The address of nginx serving the box's bundle."""
    if (program := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")) is None:
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}"
        f"http {{ access_log off; {places} server {{ listen 127.0.0.1:{port}; root {box}; limit_rate 100k; }} }}"
    )
    process = subprocess.Popen([program, "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_a_real_web_server_will_do_and_resumes(nginx: str, box: Path, device: Path) -> None:
    with pytest.raises(MygoEdgeError, match="the whole update is over"):
        update(nginx, device, limits=Limits(deadline=0.7))
    stays(device)
    (part,) = (device / ".download").iterdir()
    held = part.stat().st_size
    assert held > 0
    report = update(nginx, device)
    assert report.fetched["classifier.onnx"] == (box / "v0003" / "classifier.onnx").stat().st_size - held
    assert contents(device / "v0003") == contents(box / "v0003")


def whole(device: Path) -> str:
    """The live version after a kill: one of the two, whole."""
    version = EdgeModel.load(device).version
    assert version in ("v0002", "v0003")
    return version


def test_a_kill_at_any_moment_leaves_a_whole_version_and_updating_again_mends_the_rest(
    box: Path, device: Path, tmp_path: Path
) -> None:
    """Killed just before some of its file operations; before every one of them with MYGO_EDGE_SOAK."""
    step = 1 if SOAK else 10
    (tmp_path / "killed").mkdir()
    script = Path(__file__).with_name("killed_updater.py")
    with serving(box) as server:
        command = [sys.executable, script, server.address, device, tmp_path / "killed", str(step)]
        subprocess.run(list(map(str, command)), check=True)
        folders = sorted((tmp_path / "killed").iterdir(), key=lambda folder: int(folder.name))
        assert len(folders) > 27 // step  # an update is about 30 operations
        live = [whole(folder) for folder in folders]
        assert live == sorted(live)
        assert live[0] == "v0002"
        assert live[-1] == "v0003"
        for folder in folders if SOAK else folders[::2]:
            update(server.address, folder)
            assert whole(folder) == "v0003"
            assert visible(folder) == ["current", "trust.json", "update.json", "v0002", "v0003"]
            assert not (folder / ".download").exists()
            assert roll_back(folder)[1] == "v0002"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("no right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path, leave: int) -> None:
    with (disk / "filler").open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - leave))


def test_an_update_that_the_disk_has_no_room_for_is_not_begun(box: Path, device: Path, disk: Path) -> None:
    shutil.copytree(device, disk / "device")
    fill(disk, leave=20_000)  # the classifier alone has more
    with serving(box) as server, pytest.raises(OSError, match=r"needs \d+ bytes and \d+ are free"):
        update(server.address, disk / "device")
    assert server.bodies() == []
    stays(disk / "device")


def test_a_disk_that_fills_up_leaves_the_live_version_and_gets_its_room_back(
    box: Path, device: Path, disk: Path
) -> None:
    shutil.copytree(device, disk / "device")

    def fills_up(handler: Handler, data: bytes) -> None:
        fill(disk, leave=10_000)
        handler.whole_or_range(data)

    with serving(box, fills_up) as server, pytest.raises(OSError, match="No space left"):
        update(server.address, disk / "device")
    stays(disk / "device")
    assert not (disk / "device" / ".download").exists()
    (disk / "filler").unlink()
    assert update(str(box), disk / "device").version == "v0003"
