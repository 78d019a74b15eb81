"""What a device holds to once it has it: the key, the learner, the newest version. No source talks it back."""

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.reading import keys_after
from mygo_edge.bundle.signature import PublicKey, new_key, sign
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.sign import sign_version
from mygo_edge.update.install import locked, roll_back
from mygo_edge.update.trust import Trust, read_trust, write_trust
from mygo_edge.update.updater import UpdatePolicy, update
from tests.bundles import LEARNER, edit_manifest, publish_tiny

OTHER = "07be2" + "0" * 27


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three pairs: ours, what follows it, and theirs."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "next", "theirs"):
        new_key(folder / name, folder / f"{name}.pub")
    return folder


def hexadecimal(key: Path) -> str:
    return PublicKey.read(key).raw.hex()


def signed(box: Path, device: Path, keys: Path) -> UpdatePolicy:
    """Install v0003 signed by our key. Returns the policy that names the key."""
    sign_version(box / "v0003", keys / "ours")
    policy = UpdatePolicy(public_key=keys / "ours.pub")
    update(str(box), device, policy)
    return policy


def publish_next(box: Path, sequence: int = 4, **how: object) -> Path:
    return publish_tiny(box, 3, sequence=sequence, seed=sequence, **how)


def publish_other(box: Path, **how: int) -> None:
    """What another learner made, where the source was."""
    shutil.rmtree(box)
    publish_next(box, learner_id=OTHER, **how)


def test_a_signed_version_is_never_replaced_by_an_unsigned_one(box: Path, device: Path, keys: Path) -> None:
    signed(box, device, keys)
    publish_next(box)
    with pytest.raises(
        BundleError, match=r"v0004/manifest\.json is not signed, and the publisher's key, which was pinned"
    ):
        update(str(box), device)
    assert EdgeModel.load(device).version == "v0003"
    sign_version(box / "v0004", keys / "theirs")
    with pytest.raises(BundleError, match="is not what the owner of the publisher's key"):
        update(str(box), device)
    (box / "v0004" / "manifest.sig").unlink()
    sign_version(box / "v0004", keys / "ours")
    report = update(str(box), device)  # the pinned key is asked for by itself
    assert (report.version, report.signed_by) == ("v0004", hexadecimal(keys / "ours.pub"))


def test_a_key_is_pinned_by_the_first_update_that_names_it_even_if_nothing_is_new(
    box: Path, device: Path, keys: Path
) -> None:
    update(str(box), device)
    assert read_trust(device).key is None
    sign_version(box / "v0003", keys / "ours")
    report = update(str(box), device, UpdatePolicy(public_key=keys / "ours.pub"))
    (note,) = report.notes
    assert note.startswith(f"key {hexadecimal(keys / 'ours.pub')[:32]} is pinned: ")
    assert read_trust(device).key == hexadecimal(keys / "ours.pub")


def test_another_key_than_the_pinned_one_is_refused_until_that_is_forgotten(
    box: Path, device: Path, keys: Path
) -> None:
    signed(box, device, keys)
    publish_next(box)
    sign_version(box / "v0004", keys / "theirs")
    with pytest.raises(MygoEdgeError, match=r"theirs\.pub is not the publisher's key, which was pinned .*--forget-key"):
        update(str(box), device, UpdatePolicy(public_key=keys / "theirs.pub"))
    command = [sys.executable, "-m", "mygo_edge.update", str(device)]
    done = subprocess.run([*command, "--forget-key"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"key {hexadecimal(keys / 'ours.pub')[:32]} is forgotten")
    report = update(str(box), device, UpdatePolicy(public_key=keys / "theirs.pub"))
    assert report.signed_by == hexadecimal(keys / "theirs.pub")


def test_a_signed_product_is_not_taken_for_another_that_the_same_key_signs(box: Path, device: Path, keys: Path) -> None:
    policy = signed(box, device, keys)
    publish_other(box, sequence=9)
    sign_version(box / "v0009", keys / "ours")
    with pytest.raises(MygoEdgeError, match=f"is of learner {OTHER}, this device runs learner {LEARNER}"):
        update(str(box), device, policy)
    assert EdgeModel.load(device).version == "v0003"
    allowed = UpdatePolicy(public_key=keys / "ours.pub", other_learner=True)
    assert update(str(box), device, allowed).notes == [f"this device runs learner {OTHER} now, no more {LEARNER}"]


def test_another_learners_numbers_count_for_themselves(box: Path, device: Path) -> None:
    update(str(box), device)
    publish_other(box, sequence=1)
    assert update(str(box), device, UpdatePolicy(other_learner=True)).version == "v0001"
    assert read_trust(device).sequence == 1


def test_a_device_without_a_trust_file_holds_to_what_it_runs(box: Path, device: Path) -> None:
    """A bundle that was copied, or updated by an older release."""
    assert read_trust(device).learner == LEARNER
    publish_other(box)
    with pytest.raises(MygoEdgeError, match="this device runs learner"):
        update(str(box), device)


def old(box: Path) -> None:
    """The source offers v0002 again, made anew, so that no rolled-back mark is on it."""
    shutil.rmtree(box / "v0002")
    publish_tiny(box, 2, sequence=2, seed=7)
    (box / "current").write_text("v0002")


def test_after_a_rollback_nothing_older_than_what_was_live_gets_in(box: Path, device: Path) -> None:
    update(str(box), device)
    roll_back(device)
    old(box)
    with pytest.raises(MygoEdgeError, match=r"v0002.*older than what was live here, sequence 3"):
        update(str(box), device)
    assert update(str(box), device, UpdatePolicy(downgrade=True)).sequence == 2
    assert read_trust(device).sequence == 3  # the mark stays


@pytest.mark.parametrize("current", [None, b"", b"v0099\n", b"\xff"])
def test_a_lost_current_is_no_way_back(box: Path, device: Path, current: bytes | None) -> None:
    update(str(box), device)
    (device / "current").unlink()
    if current is not None:
        (device / "current").write_bytes(current)
    old(box)
    with pytest.raises(MygoEdgeError, match="older than what was live here"):
        update(str(box), device)
    (device / "trust.json").unlink()  # what the versions say is left
    with pytest.raises(MygoEdgeError, match="older than what was live here"):
        update(str(box), device)


def test_the_same_version_after_a_rollback_is_found_live_and_the_mark_stays(box: Path, device: Path) -> None:
    update(str(box), device)
    roll_back(device)
    (box / "current").write_text("v0002")
    assert not update(str(box), device).changed
    assert read_trust(device).sequence == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"former": [], "key": "0"}', b'{"former": [], "sequence": 3}', b'{"former": ["x"]}',
     b'{"former": [], "former": []}', b'{"former": [], "learner": 5}'],
)  # fmt: skip
def test_a_trust_file_that_is_damaged_stops_updates_instead_of_being_forgotten(
    box: Path, device: Path, content: bytes
) -> None:
    (device / "trust.json").write_bytes(content)
    with pytest.raises(MygoEdgeError, match=r"trust\.json.*restore it, or"):
        update(str(box), device)
    (device / "trust.json").unlink()
    (device / "trust.json").symlink_to("/dev/zero")
    with pytest.raises(MygoEdgeError, match="plain file"):
        update(str(box), device)
    assert EdgeModel.load(device).version == "v0002"


def test_what_is_trusted_is_read_as_it_was_written(device: Path) -> None:
    trust = Trust(LEARNER, "a" * 64, "b" * 64, ("c" * 64,), 5, "2026-01-31T12:00:00+00:00")
    write_trust(device, trust)
    assert read_trust(device) == trust


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")


def test_a_version_past_its_time_works_on_with_a_warning(box: Path, device: Path) -> None:
    edit_manifest(box / "v0003", expires=in_days(1))
    assert update(str(box), device).warnings == []
    edit_manifest(box / "v0003", expires=in_days(-1), created=in_days(0.01))
    report = update(str(box), device)
    assert "expired on" in report.warnings[0]
    assert EdgeModel.load(device).version == report.version
    assert "expired on" in update(str(box), device).warnings[0]  # and at every update that finds nothing newer


def test_a_version_from_the_future_is_refused_because_nothing_would_ever_be_newer(box: Path, device: Path) -> None:
    edit_manifest(box / "v0003", created="2999-01-01T00:00:00+00:00")
    with pytest.raises(MygoEdgeError, match="in the future; set this device's clock"):
        update(str(box), device)
    edit_manifest(box / "v0003", created=in_days(1))  # clocks may differ
    assert update(str(box), device).version == "v0003"


@pytest.mark.parametrize("created", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_times_at_the_ends_of_the_calendar_are_no_traceback(box: Path, device: Path, created: str) -> None:
    edit_manifest(box / "v0003", created=created, expires=created)
    try:
        update(str(box), device)
    except MygoEdgeError as error:
        assert "in the future" in str(error)  # noqa: PT017


def test_a_key_hands_over_to_the_next_one_that_it_named(box: Path, device: Path, keys: Path) -> None:
    edit_manifest(box / "v0003", next_key=hexadecimal(keys / "next.pub"))
    policy = signed(box, device, keys)
    assert read_trust(device).next_key == hexadecimal(keys / "next.pub")
    publish_next(box)
    sign_version(box / "v0004", keys / "next")
    report = update(str(box), device, policy)  # the file on the device is still the old key's
    assert (report.version, report.signed_by) == ("v0004", hexadecimal(keys / "next.pub"))
    trust = read_trust(device)
    assert (trust.key, trust.former) == (hexadecimal(keys / "next.pub"), (hexadecimal(keys / "ours.pub"),))
    publish_next(box, 5)
    sign_version(box / "v0005", keys / "ours")  # stolen, after it was replaced
    with pytest.raises(BundleError, match="is not what the owner"):
        update(str(box), device, policy)
    assert roll_back(device, keys / "ours.pub") == ("v0004", "v0003")  # what it signed before can be gone back to


def handed_over(box: Path, device: Path, keys: Path) -> None:
    """Our key named the next one, which signed v0004; both are installed."""
    edit_manifest(box / "v0003", next_key=hexadecimal(keys / "next.pub"))
    policy = signed(box, device, keys)
    publish_next(box)
    sign_version(box / "v0004", keys / "next")
    update(str(box), device, policy)


def test_a_program_that_names_the_key_before_goes_on_after_a_handover(box: Path, device: Path, keys: Path) -> None:
    edit_manifest(box / "v0003", next_key=hexadecimal(keys / "next.pub"))
    policy = signed(box, device, keys)
    model = EdgeModel.load(device, public_key=keys / "ours.pub")
    publish_next(box)
    sign_version(box / "v0004", keys / "next")
    update(str(box), device, policy)
    assert model.reload()
    for key in ("ours", "next"):
        assert EdgeModel.load(device, public_key=keys / f"{key}.pub").version == "v0004"
    with pytest.raises(BundleError, match="is not what the owner"):
        EdgeModel.load(device, public_key=keys / "theirs.pub")
    with pytest.raises(BundleError, match="is not what the owner"):  # no way leads back
        EdgeModel.load(device, version="v0003", public_key=keys / "next.pub")


def test_only_a_signature_hands_a_key_over_to_a_program(box: Path, device: Path, keys: Path) -> None:
    """Whoever can write the device's folder, `trust.json` included, cannot name a key to a program that has its own."""
    handed_over(box, device, keys)
    version, theirs = device / "v0004", hexadecimal(keys / "theirs.pub")
    (version / "manifest.sig").unlink()
    sign_version(version, keys / "theirs")
    write_trust(device, replace(read_trust(device), key=theirs))
    handover = device / "handovers" / hexadecimal(keys / "ours.pub")
    genuine = handover.read_bytes()
    forged = genuine.replace(hexadecimal(keys / "next.pub").encode(), theirs.encode())
    for content in (forged, b"", genuine[:64], bytes(64) + forged[64:], genuine):
        handover.write_bytes(content)
        with pytest.raises(BundleError, match="is not what the owner"):
            EdgeModel.load(device, public_key=keys / "ours.pub")


def test_a_next_key_that_is_named_no_more_is_withdrawn(box: Path, device: Path, keys: Path) -> None:
    edit_manifest(box / "v0003", next_key=hexadecimal(keys / "theirs.pub"))
    policy = signed(box, device, keys)
    assert [key.raw.hex() for key in keys_after(device, PublicKey.read(keys / "ours.pub"))][1:] == [
        hexadecimal(keys / "theirs.pub")
    ]
    publish_next(box)
    sign_version(box / "v0004", keys / "ours")
    update(str(box), device, policy)
    assert len(keys_after(device, PublicKey.read(keys / "ours.pub"))) == 1


def test_keys_that_name_one_another_in_a_circle_come_to_an_end(box: Path, device: Path, keys: Path) -> None:
    (device / "handovers").mkdir()
    for key, following in (("ours", "next"), ("next", "ours")):
        edit_manifest(box / "v0003", next_key=hexadecimal(keys / f"{following}.pub"))
        data = (box / "v0003" / "manifest.json").read_bytes()
        (device / "handovers" / hexadecimal(keys / f"{key}.pub")).write_bytes(sign(data, keys / key) + data)
    assert len(keys_after(device, PublicKey.read(keys / "ours.pub"))) == 2


def test_a_next_key_counts_only_where_the_pinned_one_signed_it(box: Path, device: Path, keys: Path) -> None:
    """Nobody else's manifest, and no unsigned one, names a key."""
    edit_manifest(box / "v0003", next_key=hexadecimal(keys / "theirs.pub"))
    update(str(box), device)
    assert read_trust(device).next_key is None
    publish_next(box)
    sign_version(box / "v0004", keys / "ours")
    update(str(box), device, UpdatePolicy(public_key=keys / "ours.pub"))
    publish_next(box, 5)
    sign_version(box / "v0005", keys / "theirs")
    with pytest.raises(BundleError, match="is not what the owner"):
        update(str(box), device)


def test_a_rollback_keeps_to_the_pinned_key(box: Path, device: Path, keys: Path) -> None:
    signed(box, device, keys)
    with pytest.raises(BundleError, match=r"v0002/manifest\.json is not signed"):
        roll_back(device)
    assert EdgeModel.load(device).version == "v0003"


def test_the_pinned_key_can_be_written_down_for_the_devices_programs(
    box: Path, device: Path, keys: Path, tmp_path: Path
) -> None:
    signed(box, device, keys)
    command = [sys.executable, "-m", "mygo_edge.update", str(device), "--save-key", str(tmp_path / "pinned.pub")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "pinned.pub").read_text() == (keys / "ours.pub").read_text()
    assert EdgeModel.load(device, public_key=tmp_path / "pinned.pub").version == "v0003"


def test_json_says_what_happened_and_what_went_wrong(box: Path, device: Path) -> None:
    def run(*arguments: object) -> tuple[int, dict[str, object], str]:
        command = [sys.executable, "-m", "mygo_edge.update", *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout), done.stderr

    edit_manifest(box / "v0003", expires=in_days(-1))
    status, said, errors = run(box, device)
    assert (status, said["status"], said["version"], said["before"], said["sequence"]) == (
        *(0, "updated", "v0003", "v0002", 3),
    )
    assert (said["learner"], said["signed_by"], errors) == (LEARNER, None, "")
    assert "expired" in str(said["warnings"])
    assert run(box, device)[1]["status"] == "current"
    assert run(device, "--rollback")[1] == {
        "status": "rolled back", "bundle": str(device), "before": "v0003", "version": "v0002"}  # fmt: skip
    status, said, errors = run("/nowhere", device)
    assert (status, said["status"], errors) == (2, "failed", "")
    assert "/nowhere is no folder" in str(said["error"])


def test_the_lock_says_whose_it_is_and_since_when(box: Path, device: Path) -> None:
    words = rf"is running \(process {os.getpid()}, since 20[0-9T:+-]+\)"
    with locked(device), pytest.raises(MygoEdgeError, match=words):
        update(str(box), device)


def test_a_key_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    whole = PublicKey(bytes(32), "x").pem
    body = base64.b64encode(bytes(44)).decode()
    for wrong in ("", "ssh-ed25519 AAAA", whole.replace("A", "!", 1), whole[:40], whole.split("\n")[0],
                  f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"):  # fmt: skip
        (tmp_path / "key").write_text(wrong)
        with pytest.raises(MygoEdgeError, match=r"key is no .*public key"):
            PublicKey.read(tmp_path / "key")
