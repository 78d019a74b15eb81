"""With a public key given, a device takes what its owner signed and nothing else."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.reading import read_manifest
from mygo_edge.bundle.signature import PublicKey, new_key
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.sign import sign_version
from tests.bundles import edit_manifest, publish_tiny


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs: ours and theirs."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        new_key(folder / name, folder / f"{name}.pub")
    return folder


def test_a_signed_version_is_taken_and_its_signature_hurts_nobody_without_a_key(own_bundle: Path, keys: Path) -> None:
    sign_version(own_bundle / "v0002", keys / "ours")
    assert EdgeModel.load(own_bundle, public_key=keys / "ours.pub").version == "v0002"
    assert EdgeModel.load(own_bundle).version == "v0002"


def test_an_unsigned_version_is_refused(own_bundle: Path, keys: Path) -> None:
    with pytest.raises(BundleError, match=r"v0002/manifest\.json is not signed"):
        EdgeModel.load(own_bundle, public_key=keys / "ours.pub")


def test_another_key_another_manifest_or_a_cut_signature_is_refused(own_bundle: Path, keys: Path) -> None:
    sign_version(own_bundle / "v0002", keys / "ours")
    words = r"v0002/manifest\.json is not what the owner of .* signed"
    with pytest.raises(BundleError, match=words):
        EdgeModel.load(own_bundle, public_key=keys / "theirs.pub")
    signature = own_bundle / "v0002" / "manifest.sig"
    whole = signature.read_bytes()
    for other in (b"", whole[:-1], bytes(64)):
        signature.write_bytes(other)
        with pytest.raises(BundleError, match=words):
            EdgeModel.load(own_bundle, public_key=keys / "ours.pub")
    signature.write_bytes(whole)
    edit_manifest(own_bundle / "v0002", comment="added later")
    with pytest.raises(BundleError, match=words):
        EdgeModel.load(own_bundle, public_key=keys / "ours.pub")
    assert EdgeModel.load(own_bundle).version == "v0002"  # which is why a key is needed


def test_a_signature_of_another_version_is_refused(own_bundle: Path, keys: Path) -> None:
    sign_version(own_bundle / "v0001", keys / "ours")
    shutil.copy(own_bundle / "v0001" / "manifest.sig", own_bundle / "v0002")
    with pytest.raises(BundleError, match="is not what the owner"):
        EdgeModel.load(own_bundle, public_key=keys / "ours.pub")


def test_a_damaged_version_is_not_signed(own_bundle: Path, keys: Path) -> None:
    (own_bundle / "v0002" / "classifier.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"classifier\.onnx has 0 bytes"):
        sign_version(own_bundle / "v0002", keys / "ours")
    assert not (own_bundle / "v0002" / "manifest.sig").exists()


def test_a_file_that_is_no_such_key_is_refused_by_name(own_bundle: Path, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("ssh-ed25519 AAAA")
    for wrong, words in ((tmp_path / "text", "no public key"), (keys / "ours", "no public key"), (tmp_path, "cannot")):
        with pytest.raises(MygoEdgeError, match=f"{wrong.name}.*{words}"):
            EdgeModel.load(own_bundle, public_key=wrong)
    with pytest.raises(MygoEdgeError, match=r"ours\.pub is no private key"):
        sign_version(own_bundle / "v0002", keys / "ours.pub")


def test_the_private_key_is_its_owners_alone_and_is_never_overwritten(keys: Path) -> None:
    assert (keys / "ours").stat().st_mode & 0o077 == 0
    with pytest.raises(MygoEdgeError, match="ours is there already"):
        new_key(keys / "ours", keys / "new.pub")


def test_the_command_makes_keys_and_signs(tmp_path: Path) -> None:
    publish_tiny(tmp_path / "bundle", 1)
    command = [sys.executable, "-m", "mygo_edge.sign", tmp_path / "bundle", "--key", tmp_path / "key"]
    done = subprocess.run([*command, "--new-key"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert EdgeModel.load(tmp_path / "bundle", public_key=tmp_path / "key.pub").version == "v0001"
    assert (tmp_path / "bundle" / "v0001" / "manifest.sig").stat().st_size == 64
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert (tmp_path / "key.pub").read_text().strip() in again.stdout


def test_an_expiry_and_a_next_key_are_signed_with_the_rest(own_bundle: Path, keys: Path) -> None:
    folder = own_bundle / "v0002"
    sign_version(folder, keys / "ours")
    sign_version(folder, keys / "ours", expires=30, next_key=keys / "theirs.pub")
    manifest = EdgeModel.load(own_bundle, public_key=keys / "ours.pub") and read_manifest(folder)
    assert manifest.next_key == PublicKey.read(keys / "theirs.pub").raw.hex()
    assert timedelta(29) < datetime.fromisoformat(manifest.expires or "") - datetime.now(UTC) < timedelta(31)
    with pytest.raises(BundleError, match="was made with another key; what it signed is not changed"):
        sign_version(folder, keys / "theirs", expires=60)
    for days in (0, -1, float("nan"), 1e9):
        with pytest.raises(MygoEdgeError, match="must be days from now"):
            sign_version(folder, keys / "ours", expires=days)
    assert EdgeModel.load(own_bundle, public_key=keys / "ours.pub").version == "v0002"


def test_the_commands_refuse_what_is_not_signed(bundle: Path, keys: Path, tmp_path: Path) -> None:
    for rest in (
        ["predict", bundle, bundle / "current"],
        ["dream", bundle, "--task", "size", "--to", tmp_path / "d.npy"],
    ):
        command = [sys.executable, "-m", f"mygo_edge.{rest[0]}", *rest[1:], "--public-key", keys / "ours.pub"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "v0002/manifest.json is not signed" in done.stderr


def test_without_cryptography_a_key_asks_for_it(bundle: Path, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ImportError('not here')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from mygo_edge.errors import run_command; from mygo_edge import EdgeModel;"
        f"run_command(lambda: EdgeModel.load({str(bundle)!r}, public_key={str(keys / 'ours.pub')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'mygo_edge[sign]'" in done.stderr
